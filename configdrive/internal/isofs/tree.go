package isofs

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// node is a file or directory, whatever it is called in which naming.
type node struct {
	name string
	file *extent // nil for a directory
	kids []*node // of a directory, by name
}

// extent is a run of blocks that holds a file's contents.
type extent struct {
	data   []byte
	sector uint32 // 0 for an empty file, which has no blocks
}

// newTree sorts files into directories; it also returns the distinct extents,
// without empty ones, in the order of the first path that has them.
func newTree(files []File) (*node, []*extent, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	root := &node{}
	shared := make(map[*byte]*extent)
	var extents []*extent
	for _, f := range files {
		if err := checkPath(f.Path); err != nil {
			return nil, nil, err
		}
		if uint64(len(f.Data)) > math.MaxUint32 {
			return nil, nil, fmt.Errorf("%w: file %q has %d bytes, want less than 4 GiB", ErrInvalid, f.Path, len(f.Data))
		}
		x := &extent{data: f.Data}
		if len(f.Data) > 0 {
			if s := shared[&f.Data[0]]; s != nil && len(s.data) == len(f.Data) {
				x = s
			} else {
				shared[&f.Data[0]] = x
				extents = append(extents, x)
			}
		}
		if err := root.add(f.Path, x); err != nil {
			return nil, nil, err
		}
	}
	root.sort()
	return root, extents, nil
}

// add puts a file below the directory n, with the directories on its way.
func (n *node) add(path string, x *extent) error {
	parts := strings.Split(path, "/")
	for i, name := range parts {
		last := i == len(parts)-1
		at := slices.IndexFunc(n.kids, func(k *node) bool { return k.name == name })
		switch {
		case at < 0:
			kid := &node{name: name}
			if last {
				kid.file = x
			}
			n.kids = append(n.kids, kid)
			n = kid
		case last || n.kids[at].file != nil:
			return fmt.Errorf("%w: path %q is given twice, or as a file and a directory", ErrInvalid, strings.Join(parts[:i+1], "/"))
		default:
			n = n.kids[at]
		}
	}
	return nil
}

func (n *node) sort() {
	slices.SortFunc(n.kids, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	for _, k := range n.kids {
		k.sort()
	}
}

func (n *node) isDir() bool { return n.file == nil }

// subdirs counts the directories directly in n.
func (n *node) subdirs() int {
	count := 0
	for _, k := range n.kids {
		if k.isDir() {
			count++
		}
	}
	return count
}

// tree is the directories of one naming, in the order of its path table: by
// depth, then by parent, then by name.
type tree struct {
	dirs   []*dir
	tables [2]uint32 // sectors of the path tables: little endian, big endian
}

// dir is a directory in one naming.
type dir struct {
	node    *node
	ident   []byte // in its parent; {0} for the root
	parent  *dir   // the root's is itself
	number  int    // in the path table, from 1
	entries []*entry
	sector  uint32
	size    uint32 // bytes, whole sectors
}

// entry is a directory record: a name for a directory or for a file's extent.
type entry struct {
	spelling
	dir  *dir
	file *extent
	use  []byte // Rock Ridge in the record
	more *area  // and what of it had no room there, else nil
}

// area is a piece of Rock Ridge data outside the directory records.
type area struct {
	data           []byte
	sector, offset uint32
}

// spelling is a name in one naming: as written, and as sorted.
type spelling struct {
	ident []byte
	key   string
}

// naming is how one tree spells its names and what it adds to them.
type naming struct {
	spell    func(kids []*node) []spelling
	describe func(e *entry, n *node) // e is a record for n
}

// grow lists the directories of root breadth first.
func grow(root *node, by naming) *tree {
	top := &dir{node: root, ident: []byte{0}}
	top.parent = top
	t := &tree{dirs: []*dir{top}}
	for i := 0; i < len(t.dirs); i++ {
		d := t.dirs[i]
		d.number = i + 1
		d.list(by)
		for _, e := range d.entries[2:] {
			if e.dir != nil {
				t.dirs = append(t.dirs, e.dir)
			}
		}
	}
	return t
}

// list makes the entries of d: itself, its parent, and its children in order.
func (d *dir) list(by naming) {
	names := by.spell(d.node.kids)
	for i, k := range d.node.kids {
		e := &entry{spelling: names[i], file: k.file}
		if k.isDir() {
			e.dir = &dir{node: k, ident: e.ident, parent: d}
		}
		by.describe(e, k)
		d.entries = append(d.entries, e)
	}
	slices.SortFunc(d.entries, func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	self := &entry{spelling: spelling{ident: []byte{0}}, dir: d}
	up := &entry{spelling: spelling{ident: []byte{1}}, dir: d.parent}
	by.describe(self, d.node)
	by.describe(up, d.parent.node)
	d.entries = slices.Insert(d.entries, 0, self, up)
}

// jolietTree spells names in UCS-2 and adds nothing.
func jolietTree(root *node) *tree {
	return grow(root, naming{spell: jolietNames, describe: func(*entry, *node) {}})
}

func jolietNames(kids []*node) []spelling {
	names := make([]spelling, len(kids))
	for i, k := range kids {
		ident := ucs2(k.name)
		names[i].key = string(ident)
		if !k.isDir() {
			ident = append(ident, 0, ';', 0, '1')
		}
		names[i].ident = ident
	}
	return names
}
