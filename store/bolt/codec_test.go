package bolt

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
)

func TestCodec(t *testing.T) {
	for _, r := range []store.Record{
		{Key: "k", Value: nil, Revision: 1},
		{Key: "k/\xff", Value: []byte{0, 0xff}, Revision: math.MaxInt64, Session: math.MaxInt64},
		{Key: string(make([]byte, store.MaxKey)), Value: make([]byte, 300), Revision: 127, Session: 128},
	} {
		got, err := decodeRecord([]byte(r.Key), encodeRecord(r))
		if err != nil || got.Key != r.Key || !bytes.Equal(got.Value, r.Value) || got.Revision != r.Revision || got.Session != r.Session {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
	}
	rev, last, err := decodeState(encodeState(1<<40, 300))
	if rev != 1<<40 || last != 300 || err != nil {
		t.Error(rev, last, err)
	}
	id, ttl, err := decodeSession(encodeSession(1<<40, time.Hour))
	if id != 1<<40 || ttl != time.Hour || err != nil {
		t.Error(id, ttl, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	overflow := bytes.Repeat([]byte{0xff}, 11)
	negative := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}
	for name, v := range map[string][]byte{
		"empty": {}, "one number": {1}, "cut number": {1, 0x80}, "overflow": overflow, "negative": negative,
	} {
		if r, err := decodeRecord([]byte("k"), v); err == nil {
			t.Errorf("record, %s: %+v", name, r)
		}
		if r, last, err := decodeState(v); err == nil {
			t.Errorf("state, %s: %v, %v", name, r, last)
		}
	}
	for _, key := range [][]byte{nil, make([]byte, store.MaxKey+1)} {
		if _, err := decodeRecord(key, []byte{1, 0}); err == nil {
			t.Errorf("a key of %d bytes", len(key))
		}
	}
	if _, _, err := decodeState([]byte{1, 2, 3}); err == nil {
		t.Error("state with more behind it")
	}
	one := []byte{0, 0, 0, 0, 0, 0, 0, 1}
	for name, kv := range map[string][2][]byte{
		"short ID": {{1}, {1}}, "zero ID": {make([]byte, 8), {1}}, "negative ID": {bytes.Repeat([]byte{0xff}, 8), {1}},
		"no ttl": {one, {}}, "zero ttl": {one, {0}}, "more": {one, {1, 1}},
	} {
		if id, ttl, err := decodeSession(kv[0], kv[1]); err == nil {
			t.Errorf("session, %s: %v, %v", name, id, ttl)
		}
	}
}

// Whatever the file holds, decoding never panics, never gives what could not
// have been written, and what it gives encodes to something that decodes alike.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("key"), encodeRecord(store.Record{Value: []byte("value"), Revision: 300, Session: 2}))
	f.Add(sessionKey(7), []byte{0xff, 0x7f})
	f.Add([]byte{}, []byte{0x80})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if r, err := decodeRecord(k, v); err == nil {
			if r.Key == "" || r.Revision < 0 || r.Session < 0 {
				t.Fatalf("decoded %+v", r)
			}
			again, err := decodeRecord(k, encodeRecord(r))
			if err != nil || again.Revision != r.Revision || again.Session != r.Session || !bytes.Equal(again.Value, r.Value) {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
		if id, ttl, err := decodeSession(k, v); err == nil {
			if id <= 0 || ttl <= 0 {
				t.Fatalf("decoded session %d of %v", id, ttl)
			}
			k2, v2 := encodeSession(id, ttl)
			if id2, ttl2, err := decodeSession(k2, v2); err != nil || id2 != id || ttl2 != ttl {
				t.Fatalf("session %d of %v became %d of %v, %v", id, ttl, id2, ttl2, err)
			}
		}
		if r, last, err := decodeState(v); err == nil {
			if r2, last2, err := decodeState(encodeState(r, last)); r < 0 || last < 0 || err != nil || r2 != r || last2 != last {
				t.Fatalf("state %d, %d became %d, %d, %v", r, last, r2, last2, err)
			}
		}
	})
}
