package image

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	cirrosVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	cirrosListed  = regexp.MustCompile(`href="(?:\./)?([0-9]+\.[0-9]+\.[0-9]+)/?"`)
	// One row of Ubuntu's listing: a link to the code name, then the number.
	ubuntuListed = regexp.MustCompile(`href="(?:\./)?([a-z]+)/"[^\n]*?Ubuntu (?:Server )?([0-9]+\.[0-9]+)( LTS)?`)
)

// candidates is how many releases are tried before giving up: a directory may
// appear before its image does.
const candidates = 3

// pickCirros takes a version as it is, or the newest of the listing, compared by
// number.
func pickCirros(listing, want string, _ time.Time) ([]release, error) {
	if want != "" {
		if !cirrosVersion.MatchString(want) {
			return nil, fmt.Errorf("version %q: use three numbers, as in cirros:0.5.1", want)
		}
		return []release{{number: want}}, nil
	}
	var all []release
	for _, m := range cirrosListed.FindAllStringSubmatch(listing, -1) {
		all = append(all, release{number: m[1]})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the listing names no version; give one, as in cirros:0.5.1")
	}
	return newest(all), nil
}

// pickUbuntu takes a release by number or code name, or the newest one with long
// term support whose month has passed: the listing also has those to come.
func pickUbuntu(listing, want string, now time.Time) ([]release, error) {
	var all, supported []release
	var known []string
	for _, m := range ubuntuListed.FindAllStringSubmatch(listing, -1) {
		r := release{number: m[2], name: m[1]}
		if want == r.number || want == r.name {
			return []release{r}, nil
		}
		if slices.Contains(all, r) {
			continue
		}
		all = append(all, r)
		known = append(known, r.number+" ("+r.name+")")
		if m[3] != "" && ubuntuOut(r, now) {
			supported = append(supported, r)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("the listing of releases cannot be read")
	case want != "":
		return nil, fmt.Errorf("no release %q; there are %s", want, strings.Join(known, ", "))
	case len(supported) == 0:
		return nil, fmt.Errorf("the listing names no supported release; give one, there are %s", strings.Join(known, ", "))
	}
	return newest(supported), nil
}

// ubuntuOut reports whether the month in a release's number is over.
func ubuntuOut(r release, now time.Time) bool {
	n := numbers(r.number)
	return now.UTC().Year() > 2000+n[0] || now.UTC().Year() == 2000+n[0] && int(now.UTC().Month()) > n[1]
}

// debianReleases: their site lists code names only. The first is the default.
var debianReleases = []release{
	{"13", "trixie"}, {"12", "bookworm"}, {"11", "bullseye"}, {"10", "buster"}, {"14", "forky"}, {"15", "duke"},
}

// pickDebian takes a release by number or code name, or the stable one as known
// to this version of the program.
func pickDebian(_, want string, _ time.Time) ([]release, error) {
	var known []string
	for _, r := range debianReleases {
		if want == "" || want == r.number || want == r.name {
			return []release{r}, nil
		}
		known = append(known, r.number+" ("+r.name+")")
	}
	return nil, fmt.Errorf("no release %q; known are %s", want, strings.Join(known, ", "))
}

// newest sorts by number, the highest first, and keeps a few.
func newest(all []release) []release {
	slices.SortFunc(all, func(a, b release) int {
		return cmp.Or(slices.Compare(numbers(b.number), numbers(a.number)), cmp.Compare(b.name, a.name))
	})
	all = slices.Compact(all)
	return all[:min(len(all), candidates)]
}

// numbers splits "0.5.10" for comparison by value.
func numbers(s string) []int {
	var out []int
	for part := range strings.SplitSeq(s, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}
