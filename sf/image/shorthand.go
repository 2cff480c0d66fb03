package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
)

const shorthandNames = "cirros[:version], ubuntu[:release], debian[:release]"

// shorthand is how a distribution's images are found.
type shorthand struct {
	image string   // URL template
	sums  []string // lists of checksums beside the image, best first
	// listed reports whether the listing must be read to find this release.
	listed func(want string) bool
	// pick chooses among the releases of a listing (empty when not listed); an
	// empty want is the newest. Several are tried in turn until one exists. Pure.
	pick func(listing, want string, now time.Time) ([]release, error)
}

// release of a distribution.
type release struct {
	number string // "22.04"
	name   string // "jammy"; may be empty
}

// shorthands returns what this source knows.
func (h *HTTP) shorthands() map[string]shorthand {
	or := func(s, fallback string) string {
		if s == "" {
			return fallback
		}
		return s
	}
	always := func(string) bool { return true }
	return map[string]shorthand{
		"cirros": {
			image:  or(h.config.Cirros, "http://download.cirros-cloud.net/%(vernum)s/cirros-%(vernum)s-x86_64-disk.img"),
			sums:   []string{"SHA256SUMS", "MD5SUMS"},
			listed: func(want string) bool { return want == "" },
			pick:   pickCirros,
		},
		"ubuntu": {
			image:  or(h.config.Ubuntu, "https://cloud-images.ubuntu.com/%(vername)s/current/%(vername)s-server-cloudimg-amd64.img"),
			sums:   []string{"SHA256SUMS"},
			listed: always,
			pick:   pickUbuntu,
		},
		"debian": {
			image:  or(h.config.Debian, "https://cloud.debian.org/images/cloud/%(vername)s/latest/debian-%(vernum)s-genericcloud-amd64.qcow2"),
			sums:   []string{"SHA512SUMS", "SHA256SUMS"},
			listed: func(string) bool { return false },
			pick:   pickDebian,
		},
	}
}

// resolveShorthand finds the URL that "name" or "name:release" stands for.
func (h *HTTP) resolveShorthand(ctx context.Context, ref driver.ImageRef, name string, pin Checksum) (Description, error) {
	distribution, want, colon := strings.Cut(name, ":")
	s, ok := h.shorthands()[distribution]
	if !ok || colon && want == "" {
		return Description{}, permanent("resolve", ref.Name, errors.New("neither a URL nor a known shorthand"),
			"use an http or https URL, or one of "+shorthandNames)
	}
	listing := ""
	if s.listed(want) {
		var err error
		if listing, err = h.text(ctx, ref, listingURL(s.image)); err != nil {
			return Description{}, err
		}
	}
	releases, err := s.pick(listing, want, h.config.Now())
	if err != nil {
		return Description{}, permanent("resolve", ref.Name, err, "")
	}
	for i, r := range releases {
		d := Description{Ref: ref, URL: r.expand(s.image), Checksum: pin}
		d, err = h.describeListed(ctx, d, s.sums)
		if err == nil || !errors.Is(err, errGone) || i == len(releases)-1 {
			return d, err
		}
	}
	return Description{}, permanent("resolve", ref.Name, errors.New("no release found"), "")
}

// describeListed is describe plus the published checksum, if there is one. It is
// read first: an image that is replaced in between then fails its verification
// and is looked up again.
func (h *HTTP) describeListed(ctx context.Context, d Description, sums []string) (Description, error) {
	dir, file := path.Split(d.URL)
	for _, list := range sums {
		if d.Checksum.Hex != "" {
			break
		}
		text, err := h.text(ctx, d.Ref, dir+list)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return Description{}, err
		}
		algorithm := strings.ToLower(strings.TrimSuffix(list, "SUMS"))
		d.Checksum = parseSums(text, algorithm, file, Redact(dir+list))
	}
	return h.describe(ctx, d)
}

const maxText = 4 << 20

// text fetches a small text: a listing or a list of checksums.
func (h *HTTP) text(ctx context.Context, ref driver.ImageRef, url string) (string, error) {
	resp, err := h.get(ctx, "resolve", Description{Ref: ref, URL: url}, http.Header{})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", statusError("resolve", url, resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%w: a listing of more than %d bytes", ErrTooLarge, maxText)
	}
	if err != nil {
		return "", transportError("resolve", url, err)
	}
	return string(b), nil
}

// expand fills a URL template.
func (r release) expand(template string) string {
	return strings.NewReplacer("%(vernum)s", r.number, "%(vername)s", r.name).Replace(template)
}

// listingURL is the directory above the first part of a template that depends on
// the release.
func listingURL(template string) string {
	head, _, _ := strings.Cut(template, "%(")
	return head[:strings.LastIndex(head, "/")+1]
}
