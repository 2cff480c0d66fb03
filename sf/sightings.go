package sf

import (
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

// sightings are when records were first seen as they are, by this process's own clock.
// What others have written about time is by their clocks, which may be minutes apart;
// what was seen so long ago has been so for at least as long.
type sightings struct {
	mu   sync.Mutex
	seen map[string]sighting // by key
}

type sighting struct {
	revision store.Revision
	at       time.Time
}

// note returns when the record at key was first seen at revision, which may be now.
func (s *sightings) note(key string, revision store.Revision, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, known := s.seen[key]; known && was.revision == revision {
		return was.at
	}
	if s.seen == nil {
		s.seen = map[string]sighting{}
	}
	s.seen[key] = sighting{revision, now}
	return now
}
