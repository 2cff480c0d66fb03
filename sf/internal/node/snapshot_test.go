package node

import (
	"testing"
	"time"
)

// A copy is seen to have ended soon after it has, measured by how long it took, and a
// long one is asked no more often than once a second.
func TestNextLook(t *testing.T) {
	for _, took := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Second, 3 * time.Second, time.Minute} {
		seen, looks := time.Duration(0), 0
		for seen < took {
			seen += nextLook(seen)
			looks++
		}
		if late := seen - took; late > max(took/4, 50*time.Millisecond) || late > snapshotPoll {
			t.Errorf("a copy of %v is seen to end %v late", took, late)
		}
		if most := 20 + int(took/snapshotPoll); looks > most {
			t.Errorf("a copy of %v is asked %d times, more than %d", took, looks, most)
		}
	}
}
