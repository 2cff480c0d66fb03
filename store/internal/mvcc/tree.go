package mvcc

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// fan is the most entries a node holds. Wide nodes make lookups short, narrow
// ones make the copies of a write small; 32 gives two levels for a thousand keys.
const fan = 32

// Tree is an immutable ordered map: Put and Delete return another tree that
// shares all untouched nodes, so keeping an old one costs only what changed
// since. The zero Tree is empty.
type Tree[V any] struct {
	root *node[V]
	size int
}

// node is a leaf (vals) or a branch (kids). In a branch keys[i] is a lower bound
// of kids[i]; kids[0] also takes everything lower, so keys[0] means nothing.
type node[V any] struct {
	keys []string
	vals []V
	kids []*node[V]
}

// Len returns the number of keys.
func (t Tree[V]) Len() int { return t.size }

// Get returns the value of key.
func (t Tree[V]) Get(key string) (v V, ok bool) {
	n := t.root
	if n == nil {
		return v, false
	}
	for n.kids != nil {
		n = n.kids[n.kid(key)]
	}
	if i, found := n.find(key); found {
		return n.vals[i], true
	}
	return v, false
}

// Put returns the tree with key set to v.
func (t Tree[V]) Put(key string, v V) Tree[V] {
	if t.root == nil {
		return Tree[V]{root: &node[V]{keys: []string{key}, vals: []V{v}}, size: 1}
	}
	left, right, added := t.root.put(key, v)
	if right != nil {
		left = &node[V]{keys: []string{left.keys[0], right.keys[0]}, kids: []*node[V]{left, right}}
	}
	if added {
		t.size++
	}
	return Tree[V]{root: left, size: t.size}
}

// Delete returns the tree without key.
func (t Tree[V]) Delete(key string) Tree[V] {
	if t.root == nil {
		return t
	}
	root, found := t.root.delete(key)
	if !found {
		return t
	}
	for root != nil && len(root.kids) == 1 {
		root = root.kids[0]
	}
	return Tree[V]{root: root, size: t.size - 1}
}

// From yields the keys not less than start, in order.
func (t Tree[V]) From(start string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for keys, vals := range t.leaves(start) {
			for i, k := range keys {
				if !yield(k, vals[i]) {
					return
				}
			}
		}
	}
}

// Prefix yields the keys that start with prefix, in order.
func (t Tree[V]) Prefix(prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for k, v := range t.From(prefix) {
			if !strings.HasPrefix(k, prefix) || !yield(k, v) {
				return
			}
		}
	}
}

// Runs yields the values of the keys that start with prefix and are not less than
// start, in order, as many at once as lie together. They are shared.
func (t Tree[V]) Runs(prefix, start string) iter.Seq[[]V] {
	return func(yield func([]V) bool) {
		for keys, vals := range t.leaves(max(prefix, start)) {
			n := len(keys)
			if !strings.HasPrefix(keys[n-1], prefix) { // nor does any key after this leaf
				n = sort.Search(n, func(i int) bool { return !strings.HasPrefix(keys[i], prefix) })
			}
			if n > 0 && !yield(vals[:n]) || n < len(keys) {
				return
			}
		}
	}
}

// leaves yields the keys not less than start and their values, leaf by leaf.
func (t Tree[V]) leaves(start string) iter.Seq2[[]string, []V] {
	return func(yield func([]string, []V) bool) {
		if t.root != nil {
			t.root.leaves(start, yield)
		}
	}
}

// find returns the index of the first key not less than key, and whether it is key.
func (n *node[V]) find(key string) (int, bool) {
	lo, hi := 0, len(n.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.keys[mid] < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.keys) && n.keys[lo] == key
}

// kid returns the index of the child that key belongs to: the last one whose
// bound is not greater than key, or the first one.
func (n *node[V]) kid(key string) int {
	lo, hi := 1, len(n.keys) // not 0: keys[0] means nothing
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.keys[mid] <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// put returns the node with key set, split in two where it grew too wide.
func (n *node[V]) put(key string, v V) (left, right *node[V], added bool) {
	if n.kids != nil {
		return n.putBelow(key, v)
	}
	i, found := n.find(key)
	if found {
		vals := slices.Clone(n.vals)
		vals[i] = v
		return &node[V]{keys: n.keys, vals: vals}, nil, false
	}
	wide := &node[V]{keys: inserted(n.keys, i, key), vals: inserted(n.vals, i, v)}
	left, right = wide.split(i == len(n.keys))
	return left, right, true
}

func (n *node[V]) putBelow(key string, v V) (left, right *node[V], added bool) {
	i := n.kid(key)
	kid, extra, added := n.kids[i].put(key, v)
	if extra == nil {
		kids := slices.Clone(n.kids)
		kids[i] = kid
		return &node[V]{keys: n.keys, kids: kids}, nil, added
	}
	wide := &node[V]{keys: inserted(n.keys, i+1, extra.keys[0]), kids: inserted(n.kids, i+1, extra)}
	wide.kids[i] = kid
	left, right = wide.split(i+1 == len(n.keys))
	return left, right, added
}

// split halves a node that is too wide. Growth at its end, as by a sorted load,
// splits near the end, so that the nodes it leaves behind are full.
func (n *node[V]) split(atEnd bool) (left, right *node[V]) {
	if len(n.keys) <= fan {
		return n, nil
	}
	at := len(n.keys) / 2
	if atEnd {
		at = len(n.keys) - 2
	}
	left, right = &node[V]{keys: n.keys[:at:at]}, &node[V]{keys: n.keys[at:]}
	if n.kids != nil {
		left.kids, right.kids = n.kids[:at:at], n.kids[at:]
	} else {
		left.vals, right.vals = n.vals[:at:at], n.vals[at:]
	}
	return left, right
}

// delete returns the node without key, nil when nothing is left of it.
func (n *node[V]) delete(key string) (*node[V], bool) {
	if n.kids != nil {
		return n.deleteBelow(key)
	}
	i, found := n.find(key)
	switch {
	case !found:
		return n, false
	case len(n.keys) == 1:
		return nil, true
	}
	return &node[V]{keys: removed(n.keys, i), vals: removed(n.vals, i)}, true
}

func (n *node[V]) deleteBelow(key string) (*node[V], bool) {
	i := n.kid(key)
	kid, found := n.kids[i].delete(key)
	switch {
	case !found:
		return n, false
	case kid == nil && len(n.kids) == 1:
		return nil, true
	case kid == nil:
		return &node[V]{keys: removed(n.keys, i), kids: removed(n.kids, i)}, true
	}
	next := &node[V]{keys: n.keys, kids: slices.Clone(n.kids)}
	next.kids[i] = kid
	// A thin child joins a neighbour, so that deleting most keys leaves no
	// skeleton of nearly empty nodes behind.
	if i > 0 && next.joinable(i-1) {
		return next.join(i - 1), true
	}
	if i+1 < len(next.kids) && next.joinable(i) {
		return next.join(i), true
	}
	return next, true
}

func (n *node[V]) joinable(i int) bool {
	return len(n.kids[i].keys)+len(n.kids[i+1].keys) <= fan/2
}

// join merges the children i and i+1.
func (n *node[V]) join(i int) *node[V] {
	a, b := n.kids[i], n.kids[i+1]
	merged := &node[V]{
		keys: slices.Concat(a.keys, b.keys),
		vals: slices.Concat(a.vals, b.vals),
		kids: slices.Concat(a.kids, b.kids),
	}
	if merged.kids != nil {
		merged.keys[len(a.keys)] = n.keys[i+1] // b's own first bound means nothing
	}
	kids := removed(n.kids, i+1)
	kids[i] = merged
	return &node[V]{keys: removed(n.keys, i+1), kids: kids}
}

func (n *node[V]) leaves(start string, yield func([]string, []V) bool) bool {
	if n.kids == nil {
		i, _ := n.find(start)
		return i == len(n.keys) || yield(n.keys[i:], n.vals[i:])
	}
	for i := n.kid(start); i < len(n.kids); i++ {
		if !n.kids[i].leaves(start, yield) {
			return false
		}
	}
	return true
}

func inserted[T any](s []T, i int, v T) []T {
	out := make([]T, 0, len(s)+1)
	return append(append(append(out, s[:i]...), v), s[i:]...)
}

func removed[T any](s []T, i int) []T {
	out := make([]T, 0, len(s)-1)
	return append(append(out, s[:i]...), s[i+1:]...)
}
