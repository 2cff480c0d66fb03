package spec

import (
	"encoding/json"
	"math"
)

// Limits of an instance's affinity.
const (
	MaxTags   = 8
	MaxWeight = 1000 // of a tag, either way
)

// ParseAffinity reads what an instance's metadata says about its place: "tags",
// a list of labels that it carries, and "affinity", how much it wants to be on
// the node of instances that carry a label (a positive number) or far from them
// (a negative one). The error is of class ErrInvalid.
func ParseAffinity(m Metadata) (tags []string, weights map[string]int, err error) {
	if err := member(m, "tags", &tags); err != nil {
		return nil, nil, Errorf(ErrInvalid, "metadata tags must be a list of labels, such as [\"web\"]").Because(err)
	}
	var numbers map[string]float64
	if err := member(m, "affinity", &numbers); err != nil {
		return nil, nil, Errorf(ErrInvalid, "metadata affinity must be numbers by label, such as {\"web\": -10}").Because(err)
	}
	if len(tags) > MaxTags || len(numbers) > MaxTags {
		return nil, nil, Errorf(ErrInvalid, "an instance has at most %d tags and %d affinities", MaxTags, MaxTags)
	}
	seen := map[string]bool{}
	for _, tag := range tags {
		if !ValidLabel(tag) || seen[tag] {
			return nil, nil, Errorf(ErrInvalid, "tag %q is not a label, or is there twice", tag)
		}
		seen[tag] = true
	}
	weights = map[string]int{}
	for tag, w := range numbers {
		if !ValidLabel(tag) || w != math.Trunc(w) || math.Abs(w) > MaxWeight {
			return nil, nil, Errorf(ErrInvalid, "affinity %q: %v: want a label and a whole number between %d and %d", tag, w, -MaxWeight, MaxWeight)
		}
		weights[tag] = int(w)
	}
	return tags, weights, nil
}

// member reads one member of metadata into a Go value.
func member(m Metadata, key string, into any) error {
	v, ok := m[key]
	if !ok || v == nil {
		return nil
	}
	if s, ok := v.(string); ok { // as clients write it whose metadata are strings
		return json.Unmarshal([]byte(s), into)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
