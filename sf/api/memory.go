package api

import "sync"

// memory is a bounded map that forgets what was not used lately. It keeps two
// generations: when the young one is full it becomes the old one, and what is
// found in the old one moves to the young. So it holds between limit and twice
// limit of the entries used last, at the price of two lookups.
type memory[V any] struct {
	limit int

	mu         sync.Mutex
	young, old map[string]V
}

func newMemory[V any](limit int) *memory[V] {
	return &memory[V]{limit: limit, young: map[string]V{}}
}

func (m *memory[V]) get(key string) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.young[key]
	if !ok {
		if v, ok = m.old[key]; ok {
			m.store(key, v)
		}
	}
	return v, ok
}

func (m *memory[V]) put(key string, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(key, v)
}

func (m *memory[V]) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, key)
	delete(m.old, key)
}

func (m *memory[V]) store(key string, v V) {
	if len(m.young) >= m.limit {
		m.old, m.young = m.young, make(map[string]V, m.limit)
	}
	m.young[key] = v
}
