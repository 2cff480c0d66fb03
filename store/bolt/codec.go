package bolt

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/shakenfist/cloud/store"
)

// What the buckets hold, all integers as uvarints:
//
//	store     "format": format; "state": revision, last session ID
//	keys      key: revision, session ID, value
//	sessions  session ID (8 bytes, big endian): ttl in nanoseconds
const format = "shakenfist store 1"

var (
	bucketStore    = []byte("store")
	bucketKeys     = []byte("keys")
	bucketSessions = []byte("sessions")
	keyFormat      = []byte("format")
	keyState       = []byte("state")
)

var errCodec = errors.New("malformed entry")

func encodeRecord(r store.Record) []byte {
	b := make([]byte, 0, 2*binary.MaxVarintLen64+len(r.Value))
	b = binary.AppendUvarint(b, uint64(r.Revision))
	b = binary.AppendUvarint(b, uint64(r.Session))
	return append(b, r.Value...)
}

// decodeRecord copies what it takes from k and v, which belong to bbolt.
func decodeRecord(k, v []byte) (store.Record, error) {
	if len(k) == 0 || len(k) > store.MaxKey {
		return store.Record{}, errCodec
	}
	revision, v, err := number(v)
	if err != nil {
		return store.Record{}, err
	}
	session, v, err := number(v)
	if err != nil {
		return store.Record{}, err
	}
	return store.Record{
		Key:      string(k),
		Value:    append([]byte(nil), v...),
		Revision: store.Revision(revision),
		Session:  store.SessionID(session),
	}, nil
}

func encodeState(r store.Revision, last store.SessionID) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r)), uint64(last))
}

func decodeState(v []byte) (store.Revision, store.SessionID, error) {
	r, v, err := number(v)
	if err != nil {
		return 0, 0, err
	}
	last, v, err := number(v)
	if err != nil || len(v) != 0 {
		return 0, 0, errCodec
	}
	return store.Revision(r), store.SessionID(last), nil
}

func encodeSession(id store.SessionID, ttl time.Duration) (k, v []byte) {
	return sessionKey(id), binary.AppendUvarint(nil, uint64(ttl))
}

func sessionKey(id store.SessionID) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(id))
}

func decodeSession(k, v []byte) (store.SessionID, time.Duration, error) {
	ttl, v, err := number(v)
	if err != nil || len(v) != 0 || len(k) != 8 || ttl == 0 {
		return 0, 0, errCodec
	}
	id := binary.BigEndian.Uint64(k)
	if id == 0 || id > math.MaxInt64 {
		return 0, 0, errCodec
	}
	return store.SessionID(id), time.Duration(ttl), nil
}

// number reads a number that fits in an int64.
func number(b []byte) (int64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > math.MaxInt64 {
		return 0, nil, errCodec
	}
	return int64(n), b[size:], nil
}
