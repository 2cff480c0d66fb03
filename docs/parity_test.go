// Package docs holds the documents to the code.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	named    = regexp.MustCompile("`(?:([\\w/-]+): )?(Test\\w+)(?:/([\\w-]+))?(…?)`")
)

// states that a row's last column begins with, and whether they name a test.
var states = []struct {
	begins string
	shown  bool
}{
	{"works", true}, {"done", true}, {"beyond", true}, {"accepted", true},
	{"not wanted", false}, {"planned", false}, {"not yet", false},
}

// sources are the test functions of each package of the project, and the text of its
// tests.
type source struct {
	tests []string
	text  string
	dir   string
}

func sources(t *testing.T) map[string]*source {
	out := map[string]*source{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		pkg := filepath.ToSlash(strings.TrimPrefix(dir, ".."+string(filepath.Separator)))
		if out[pkg] == nil {
			out[pkg] = &source{dir: dir}
		}
		out[pkg].text += string(text)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			out[pkg].tests = append(out[pkg].tests, m[1])
		}
		return nil
	})
	if err != nil || len(out) < 20 {
		t.Fatalf("tests of %d packages: %v", len(out), err)
	}
	return out
}

// find says what is wrong with the name of a test: nothing, or that there is not the
// one that is meant.
func find(all map[string]*source, pkg, name, sub string, rest bool) error {
	found := 0
	for path, s := range all {
		if pkg != "" && path != pkg && !strings.HasSuffix(path, "/"+pkg) {
			continue
		}
		for _, test := range s.tests {
			switch {
			case test != name && !(rest && strings.HasPrefix(test, name) && !strings.ContainsAny(test[len(name):][:1], "0123456789")):
			case sub != "" && !s.has(sub):
				return fmt.Errorf("%s has no subtest %s", name, sub)
			default:
				found++
			}
		}
	}
	switch {
	case found == 0:
		return fmt.Errorf("there is no test %s %s", pkg, name)
	case rest && found > 1:
		return fmt.Errorf("%s… is %d tests", name, found)
	}
	return nil
}

// has reports whether a package has something by which a subtest is named: a text in
// its tests, or a golden file.
func (s *source) has(sub string) bool {
	if strings.Contains(s.text, `"`+sub+`"`) {
		return true
	}
	found := false
	filepath.WalkDir(filepath.Join(s.dir, "testdata"), func(path string, _ fs.DirEntry, err error) error {
		base := filepath.Base(path)
		found = found || strings.TrimSuffix(base, filepath.Ext(base)) == sub
		return nil
	})
	return found
}

// TestParity checks that every row of the page on parity says how it is, that one which
// says that something works names a test, and that there is every test that is named.
func TestParity(t *testing.T) {
	all := sources(t)
	text, err := os.ReadFile("parity.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, tests := 0, 0
	section, weaknesses := "", map[string]bool{}
	for n, line := range strings.Split(string(text), "\n") {
		complain := func(format string, args ...any) {
			t.Errorf("parity.md:%d: %s: %s", n+1, fmt.Sprintf(format, args...), line)
		}
		if s, ok := strings.CutPrefix(line, "## "); ok {
			section = s
		}
		pkg := ""
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			if m[1] != "" {
				pkg = m[1]
			}
			if err := find(all, pkg, m[2], m[3], m[4] != ""); err != nil && (m[1] != "" || find(all, "", m[2], m[3], m[4] != "") != nil) {
				complain("%v", err)
			}
			tests++
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || cells[len(cells)-1] == "state" || cells[len(cells)-1] == "test" {
			continue
		}
		rows++
		last := cells[len(cells)-1]
		if strings.HasPrefix(section, "The original's weaknesses") {
			for _, number := range strings.Split(cells[0], ", ") {
				weaknesses[number] = true
			}
			continue
		}
		known := named.MatchString(last)
		for _, s := range states {
			if !strings.HasPrefix(last, s.begins) {
				continue
			}
			known = true
			if s.shown && !named.MatchString(line) && !strings.Contains(last, "see ") {
				complain("no test is named")
			}
			if s.begins == "not wanted" && !strings.Contains(last, ": ") && last != "not wanted: the same" {
				complain("no reason is given")
			}
		}
		if !known {
			complain("how is it?")
		}
	}
	for n := 1; n <= 55; n++ {
		if !weaknesses[fmt.Sprint(n)] {
			t.Errorf("weakness %d has no row", n)
		}
	}
	if rows < 300 || tests < 300 {
		t.Errorf("only %d rows and %d tests were looked at", rows, tests)
	}
}
