package libvirt

import (
	"context"
	"errors"
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

// End ends the machines of an owner that run, whoever controls them, and returns how
// many it found running. Their definitions stay.
func End(ctx context.Context, socket, owner string) (found int, err error) {
	all, err := Domains(ctx, socket)
	if err != nil {
		return 0, err
	}
	c, err := connect(ctx, socket)
	if err != nil {
		return 0, fmt.Errorf("libvirt: %w", err)
	}
	defer c.cut()
	var errs []error
	for _, d := range all {
		if d.Owner != owner {
			continue
		}
		state, _, err := c.DomainGetState(dom(d.ID), 0)
		if err == nil && (seen{state: state}).active() {
			found++
			err = c.DomainDestroyFlags(dom(d.ID), golibvirt.DomainDestroyDefault)
		}
		if code(err) != errNoDomain && code(err) != errInvalidOp {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}
