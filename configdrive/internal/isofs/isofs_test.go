package isofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
)

var when = time.Date(2026, 11, 23, 10, 28, 59, 0, time.UTC)

// sample has what is hard to encode: a directory beyond one sector, depth, names
// that need a continuation area, names alike in 8.3, an empty file, shared data.
func sample() []File {
	big := bytes.Repeat([]byte("0123456789abcdef"), 300)
	files := []File{
		{Path: "empty"},
		{Path: "openstack/latest/meta_data.json", Data: big},
		{Path: "openstack/2017-02-22/meta_data.json", Data: big},
		{Path: "openstack/latest/vendor_data.json", Data: []byte("{}")},
		{Path: "openstack/latest/vendor_data2.json", Data: []byte("{}\n")},
		{Path: "UPPER.lower.Two.Dots", Data: []byte("x")},
		{Path: ".hidden", Data: []byte("h")},
		{Path: "no extension at all", Data: []byte("n")},
		{Path: "1/2/3/4/5/6/deep", Data: []byte("d")},
		{Path: strings.Repeat("é", maxName), Data: []byte("long in UTF-8")},
		{Path: strings.Repeat("一", maxName-1) + "/" + strings.Repeat("x", 56), Data: []byte("longer")},
	}
	for i := range 200 {
		files = append(files, File{Path: fmt.Sprintf("many/a rather long name %03d.text", i), Data: []byte{byte(i)}})
	}
	for i := range 30 { // more continuation areas than a sector holds
		files = append(files, File{Path: fmt.Sprintf("areas/%02d %s", i, strings.Repeat("一", maxName-3)), Data: []byte{byte(i)}})
	}
	return files
}

func build(t testing.TB, files []File) []byte {
	t.Helper()
	img, err := Build(Options{Label: "config-2", Time: when}, files)
	if err != nil {
		t.Fatal(err)
	}
	if len(img)%SectorSize != 0 {
		t.Fatalf("%d bytes are no whole number of sectors", len(img))
	}
	return img
}

func contents(files []File) map[string]string {
	m := make(map[string]string)
	for _, f := range files {
		m[f.Path] = string(f.Data)
	}
	return m
}

func readBack(t testing.TB, img []byte) map[string]string {
	t.Helper()
	v, err := Read(bytes.NewReader(img), int64(len(img)), Limits{Files: 10000, Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return contents(v.Files)
}

// withoutRockRidge is img to a reader that does not know Rock Ridge, and
// withoutJoliet to one that knows neither.
func withoutRockRidge(img []byte) []byte {
	return bytes.Replace(img, []byte{'S', 'P', 7, 1, 0xbe, 0xef}, []byte{'X', 'X', 7, 1, 0xbe, 0xef}, 1)
}

func withoutJoliet(img []byte) []byte {
	return bytes.Replace(withoutRockRidge(img), []byte("%/E"), []byte("   "), 1)
}

// kdomanski lists img by a reader that is not ours. It garbles Rock Ridge names in
// directories of more than one sector: all of its entries point into one buffer.
func kdomanski(t testing.TB, img []byte) map[string]string {
	t.Helper()
	v, err := iso9660.OpenImage(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	if label, err := v.Label(); err != nil || strings.TrimRight(label, " ") != "config-2" {
		t.Errorf("label %q, %v", label, err)
	}
	root, err := v.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	var walk func(dir *iso9660.File, at string)
	walk = func(dir *iso9660.File, at string) {
		kids, err := dir.GetChildren()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kids {
			if !k.ModTime().Equal(when) {
				t.Errorf("%s%s: time %v, want %v", at, k.Name(), k.ModTime(), when)
			}
			if k.IsDir() {
				walk(k, at+k.Name()+"/")
				continue
			}
			b, err := io.ReadAll(k.Reader())
			if err != nil {
				t.Fatal(err)
			}
			found[at+k.Name()] = string(b)
		}
	}
	walk(root, "")
	return found
}

func TestRoundTrip(t *testing.T) {
	files := sample()
	img, want := build(t, files), contents(files)
	if diff := cmp.Diff(want, readBack(t, img)); diff != "" {
		t.Error("Rock Ridge, our reader (-want +got):", diff)
	}
	if diff := cmp.Diff(want, readBack(t, withoutRockRidge(img))); diff != "" {
		t.Error("Joliet (-want +got):", diff)
	}
	// Plain names are others, but as many, and the contents are the same.
	plain := readBack(t, withoutJoliet(img))
	sorted := func(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }
	if diff := cmp.Diff(sorted(want), sorted(plain)); diff != "" {
		t.Error("plain (-want +got):", diff)
	}
	if got := plain["openstac/latest/vendor_1.jso"]; got != "{}\n" {
		t.Errorf("vendor_data2.json in plain is %q", got)
	}
}

func TestKdomanski(t *testing.T) {
	files := slices.DeleteFunc(sample(), func(f File) bool {
		return strings.HasPrefix(f.Path, "many/") || strings.HasPrefix(f.Path, "areas/")
	})
	if diff := cmp.Diff(contents(files), kdomanski(t, build(t, files))); diff != "" {
		t.Error("(-want +got):", diff)
	}
}

func TestSharedData(t *testing.T) {
	data := make([]byte, 100*SectorSize)
	two := build(t, []File{{"a", data}, {"b", data}})
	if len(two) > 150*SectorSize {
		t.Errorf("two files with the same slice take %d sectors", len(two)/SectorSize)
	}
	// A shorter slice of the same array is another file.
	img := build(t, []File{{"a", data}, {"b", data[:5]}, {"c", data}})
	got := readBack(t, img)
	if len(got["a"]) != len(data) || len(got["b"]) != 5 || len(got["c"]) != len(data) {
		t.Errorf("sizes %d, %d, %d", len(got["a"]), len(got["b"]), len(got["c"]))
	}
}

func TestReproducible(t *testing.T) {
	files := sample()
	want := build(t, files)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		if !bytes.Equal(build(t, files), want) {
			t.Fatal("the order of the files changes the image")
		}
	}
	zone := time.FixedZone("", 3600)
	img, err := Build(Options{Label: "config-2", Time: when.In(zone).Add(time.Millisecond)}, files)
	if err != nil || !bytes.Equal(img, want) {
		t.Fatal("the zone or the fraction of a second changes the image", err)
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("n", maxName)
	for _, paths := range [][]string{
		{""}, {"."}, {".."}, {"/etc/passwd"}, {"a/../b"}, {"a//b"}, {"a/"}, {"./a"},
		{"a\x00b"}, {"a\nb"}, {"a\x7fb"}, {"a\u202eb"}, {"\xff"}, {"\ufffd"}, {"😀"},
		{"a;1"}, {"a:b"}, {`a\b`}, {"a*"}, {"a?"}, {"dot."}, {"space "},
		{long + "n"}, {long + "/" + long}, {"1/2/3/4/5/6/7/8"},
		{"twice", "twice"}, {"a", "a/b"}, {"a/b", "a"},
	} {
		var files []File
		for _, p := range paths {
			files = append(files, File{Path: p})
		}
		if _, err := Build(Options{Label: "x"}, files); !errors.Is(err, ErrInvalid) {
			t.Errorf("paths %q: error %v, want ErrInvalid", paths, err)
		}
	}
	for _, o := range []Options{
		{}, {Label: strings.Repeat("x", 17)}, {Label: "a b"}, {Label: "é"},
		{Label: "x", Time: time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC)},
		{Label: "x", Time: time.Date(2156, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := Build(o, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: error %v, want ErrInvalid", o, err)
		}
	}
}

func TestPlainNames(t *testing.T) {
	var kids []*node
	for _, name := range []string{"a.b.c", "A.b_C", "a", "user_data", "user_data2", "user_data3", "ß", ".x", "日本"} {
		kids = append(kids, &node{name: name, file: &extent{}})
	}
	kids = append(kids, &node{name: "dir.ext"}, &node{name: "A"})
	var got []string
	for _, s := range plainNames(kids) {
		got = append(got, string(s.ident))
	}
	want := []string{
		"A_B.C;1", "A.B_C;1", "A.;1", "USER_DAT.;1", "USER_DA1.;1", "USER_DA2.;1", "_.;1", "_X.;1", "__.;1",
		"DIR_EXT", "A1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):", diff)
	}
}

// FuzzBuild: whatever is accepted reads back the same in three ways.
func FuzzBuild(f *testing.F) {
	f.Add("a\nb/c\nb/d.json", []byte("some contents"))
	f.Add("openstack/latest/meta_data.json\n"+strings.Repeat("é", 64), bytes.Repeat([]byte{0}, 5000))
	f.Add(strings.Repeat("x", 60)+"/"+strings.Repeat("y", 59), []byte{})
	f.Fuzz(func(t *testing.T, paths string, data []byte) {
		var files []File
		for i, p := range strings.Split(paths, "\n") {
			cut := min(len(data), i*100)
			files = append(files, File{Path: p, Data: data[cut:]})
		}
		img, err := Build(Options{Label: "config-2", Time: when}, files)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		want := contents(files)
		if diff := cmp.Diff(want, readBack(t, img)); diff != "" {
			t.Error("Rock Ridge (-want +got):", diff)
		}
		if len(files) <= 7 { // sure to fit into a sector
			if diff := cmp.Diff(want, kdomanski(t, img)); diff != "" {
				t.Error("kdomanski (-want +got):", diff)
			}
		}
		if diff := cmp.Diff(want, readBack(t, withoutRockRidge(img))); diff != "" {
			t.Error("Joliet (-want +got):", diff)
		}
	})
}
