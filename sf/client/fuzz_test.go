package client

import (
	"bytes"
	"testing"
)

// FuzzReplies feeds arbitrary answers to every decoder: none panics, and errors
// keep their status.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{
		``, `null`, `[]`, `{}`, `[null]`, `{"size": "8"}`, `{"error": "x", "status": 400}`, `{"deletion": {}}`,
		`{"uuid": "u", "state_updated": 1e300, "block_devices": {"devices": [{"size": -1}]}, "power": {"want": "on"}}`,
		`[{"ipv4": "10.0.0.1", "floating": null, "duration": 1e300}]`,
	} {
		f.Add([]byte(s), 404)
	}
	f.Fuzz(func(t *testing.T, data []byte, status int) {
		var i instanceRecord
		if decode(call{into: &i}, data) == nil {
			i.instance()
		}
		var n networkRecord
		if decode(call{into: &n}, data) == nil {
			n.network()
		}
		var nics []interfaceRecord
		if decode(call{into: &nics}, data) == nil {
			each(nics, (*interfaceRecord).nic)
		}
		var events []eventRecord
		if decode(call{into: &events}, data) == nil {
			each(events, (*eventRecord).event)
		}
		var ops []operationRecord
		if decode(call{into: &ops}, data) == nil {
			each(ops, (*operationRecord).operation)
		}
		var copies []copyRecord
		if decode(call{into: &copies}, data) == nil {
			snapshotsOf(copies)
		}
		var snapshots []snapshotRecord
		if decode(call{into: &snapshots}, data) == nil {
			each(snapshots, (*snapshotRecord).snapshot)
		}
		var images []imageRecord
		if decode(call{into: &images}, data) == nil {
			each(images, (*imageRecord).image)
		}
		progress(bytes.NewReader(data), func(Progress) {})
		var nodes []nodeRecord
		if decode(call{into: &nodes}, data) == nil {
			each(nodes, (*nodeRecord).node)
		}
		if err := newError(status, data); err.Status != status || err.Unwrap() == nil {
			t.Errorf("%v", err)
		}
		parseFile(data)
	})
}

// FuzzContentRange feeds arbitrary headers to the parser: what it accepts is a
// place in a file.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes */10", "bytes 5-9/10", "bytes 5-9/*", "bytes 9-5/10", "", "bytes 0-0/-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, size, ok := contentRange(s)
		if ok && (size < 0 || first < 0 || first > size) {
			t.Errorf("%q: %d of %d", s, first, size)
		}
	})
}
