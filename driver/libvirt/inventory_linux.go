package libvirt

import (
	"context"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// Domain is a domain of libvirt's that is, or looks like, a machine of this package.
type Domain struct {
	ID, Name string
	Owner    string // Config.Owner of who made it; empty where it has no mark
}

// Domains lists the machines of all owners, whoever controls them.
func Domains(ctx context.Context, socket string) ([]Domain, error) {
	c, err := connect(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	defer c.cut()
	records, err := c.ConnectGetAllDomainStats(nil, uint32(golibvirt.DomainStatsState), 0)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list: %w", err)
	}
	var all []Domain
	for _, r := range records {
		d := Domain{ID: textUUID(r.Dom.UUID), Name: r.Dom.Name}
		text, err := c.DomainGetMetadata(r.Dom, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{xmlNamespace}, golibvirt.DomainAffectConfig)
		switch code(err) {
		case errNoDomain: // gone meanwhile
			continue
		case errNoMeta:
			if d.Name == domainName(d.ID) {
				all = append(all, d)
			}
			continue
		}
		if err == nil {
			d.Owner, _, err = parseMark(text)
		}
		if err != nil {
			return nil, fmt.Errorf("libvirt: domain %s: %w", d.Name, err)
		}
		all = append(all, d)
	}
	return all, nil
}
