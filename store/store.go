// Package store defines the medium through which the parts of a cloud talk to
// each other: ordered keys with revisions, compare-and-commit, watches, sessions.
//
// The contract maps one to one onto etcd, so that one machine (packages memory
// and bolt) and many (package etcd) behave alike. Package storetest proves an
// implementation right.
//
// # Keys, values, revisions
//
// A key is a non-empty slash-separated string, a value is opaque and small
// (images and logs never go in). Every commit that changes something has a
// Revision, one higher than the one before, shared by all keys that it wrote.
// An empty store is at revision 0 or any higher number of the implementation's
// choosing.
package store

import (
	"context"
	"errors"
	"time"
)

// Limits of one Txn, the same for every implementation, so that what works on
// one machine works on many.
const (
	MaxOps = 128 // conditions and operations together
	// MaxBytes is of the keys and values of all conditions and operations together. It
	// has room for 1 MiB of a user's bytes as JSON, and is what is left of the 1.5 MiB
	// that etcd takes in a request.
	MaxBytes = 1500 << 10
	MaxKey   = 512 // bytes of one key
)

// Errors of this package. Implementations wrap them; compare with errors.Is.
var (
	// ErrNotFound: the key does not exist.
	ErrNotFound = errors.New("store: key not found")
	// ErrConflict: a condition of the transaction does not hold; nothing was written.
	ErrConflict = errors.New("store: condition failed")
	// ErrTooLarge: the transaction is over MaxOps, MaxBytes or MaxKey; nothing was written.
	ErrTooLarge = errors.New("store: transaction too large")
	// ErrInvalid: an empty key, an unknown condition, a key written twice in one
	// transaction; nothing was written. It is a mistake of the caller.
	ErrInvalid = errors.New("store: invalid transaction")
	// ErrCompacted: the revision asked for is no longer held. A watch that meets
	// it is over; list again and watch from the list's revision.
	ErrCompacted = errors.New("store: revision compacted")
	// ErrSessionExpired: the session named in a Put is over; nothing was written.
	ErrSessionExpired = errors.New("store: session expired")
	// ErrUnknownOutcome: the commit may or may not have happened, because its
	// reply was lost. Only reading tells. The caller must be able to recognise its
	// own write (see sf/internal/record).
	ErrUnknownOutcome = errors.New("store: commit outcome unknown")
	// ErrUnavailable: the store cannot be reached now; trying again may help. Of a Commit
	// without ErrUnknownOutcome it says that nothing was written.
	ErrUnavailable = errors.New("store: cannot be reached")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Revision numbers the commits of a store.
type Revision int64

// Record is one key as it was at some revision. Its Value is shared: it must
// not be modified by whoever receives it.
type Record struct {
	Key      string
	Value    []byte
	Revision Revision  // of the commit that last wrote the key
	Session  SessionID // that keeps the key alive; zero for a key that stays
}

// Page bounds a List. The zero Page asks for everything at the newest revision.
type Page struct {
	After string   // only keys greater than this one; empty starts at the first
	Limit int      // at most so many records; 0 means all
	At    Revision // the snapshot to read; 0 means the newest. ErrCompacted when no longer held
	// Into is memory that the records may be put into, as by append(Into[:0], …), for
	// who reads a long list again and again. What was in it is lost, on an error too.
	Into []Record
}

// List is one consistent, sorted snapshot of the keys below a prefix, or a page of it.
type List struct {
	Records  []Record
	Revision Revision // of the snapshot; pass it in Page.At for the next page, or to Watch
	More     bool     // records beyond the page's limit exist
}

// Kind of a condition or of an operation.
type Kind uint8

// Conditions and operations. The zero Kind is invalid.
const (
	_ Kind = iota
	// CondExists: Key exists.
	CondExists
	// CondAbsent: Key does not exist.
	CondAbsent
	// CondRevision: Key exists and was last written at Revision.
	CondRevision
	// CondPrefixEmpty: no key starts with Key.
	CondPrefixEmpty
	// OpPut writes Value to Key, bound to Session where that is set.
	OpPut
	// OpDelete deletes Key; deleting what does not exist is not an error.
	OpDelete
	// OpDeletePrefix deletes every key that starts with Key.
	OpDeletePrefix
)

// Cond is a condition on the state before the transaction.
type Cond struct {
	Kind     Kind
	Key      string
	Revision Revision
}

// Op is one write. A transaction writes a key at most once; a deleted prefix
// must not cover another written key.
type Op struct {
	Kind    Kind
	Key     string
	Value   []byte
	Session SessionID
}

// Txn is all or nothing: when every condition of If holds, every operation of
// Do happens, at one revision.
type Txn struct {
	If []Cond
	Do []Op
}

// Exists is a condition that key exists.
func Exists(key string) Cond { return Cond{Kind: CondExists, Key: key} }

// Absent is a condition that key does not exist.
func Absent(key string) Cond { return Cond{Kind: CondAbsent, Key: key} }

// RevisionIs is a condition that key exists and was last written at r.
func RevisionIs(key string, r Revision) Cond {
	return Cond{Kind: CondRevision, Key: key, Revision: r}
}

// PrefixEmpty is a condition that no key starts with prefix.
func PrefixEmpty(prefix string) Cond { return Cond{Kind: CondPrefixEmpty, Key: prefix} }

// Put is an operation that writes value to key.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// PutIn is Put with the key bound to a session: it vanishes when that ends.
func PutIn(s SessionID, key string, value []byte) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Session: s}
}

// Delete is an operation that deletes key.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// DeletePrefix is an operation that deletes every key starting with prefix.
func DeletePrefix(prefix string) Op { return Op{Kind: OpDeletePrefix, Key: prefix} }

// Event is one change of one key.
type Event struct {
	Record       // as written; for a deletion only Key and Revision (of the deletion) are set
	Deleted bool // the key was deleted, or its session ended
}

// Batch is all changes of one revision below a watch's prefix, or, with no
// events, a progress mark: everything up to Revision has been delivered.
type Batch struct {
	Revision Revision
	Events   []Event
}

// Watcher delivers the changes below a prefix, pulled by its one reader.
type Watcher interface {
	// Next returns the next revision's changes, waiting for them until ctx is
	// done. Revisions come in order, without gaps, each whole. What is ready is
	// returned even when ctx is already done, so that a done context polls.
	// ErrCompacted ends the watch loudly when the reader fell behind compaction.
	Next(ctx context.Context) (Batch, error)
	// Close releases the watch; a Next under way returns ErrClosed.
	Close() error
}

// SessionID names a session within its store. Zero is no session.
type SessionID int64

// Session is a lease: keys put under it exist until it ends.
type Session interface {
	ID() SessionID
	// Renew extends the session to its full time from the moment of the call. It
	// returns ErrSessionExpired when the session is over, which is final; any
	// other error leaves it as it was and may be retried.
	Renew(ctx context.Context) error
	// Deadline is the moment, by the caller's clock, until which the session is
	// surely alive: counted from when the last successful renewal was sent, less a
	// margin for clock drift. An owner must have stopped acting by then.
	Deadline() time.Time
	// Close ends the session at once and deletes its keys. Closing twice is nil.
	Close(ctx context.Context) error
}

// Store is the medium. All methods are safe for concurrent use. Every method
// fails with ctx's error once ctx is done, with ErrClosed once the store is
// closed, and may fail otherwise at any time: with ErrUnavailable where there is
// a network between that fails. Commit then says ErrUnknownOutcome, too, unless it is
// certain that nothing was written.
type Store interface {
	// Get returns one key at the newest revision, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List returns the keys that start with prefix, sorted, from one snapshot.
	// The empty prefix lists everything.
	List(ctx context.Context, prefix string, page Page) (List, error)
	// Commit carries out txn if all its conditions hold, else ErrConflict. When it
	// returns nil the writes survive a crash of the process and of the machine (as
	// far as the implementation promises durability), and every later read by
	// anyone sees them. A transaction without operations only checks. With nil the
	// revision is that of the write, or the newest when nothing changed; with
	// ErrConflict it is one at which the refusing condition did not hold, so a cache
	// that has reached it knows why.
	Commit(ctx context.Context, txn Txn) (Revision, error)
	// Watch delivers every change below prefix whose revision is greater than
	// after. ErrCompacted when that history is no longer held, here or in Next.
	Watch(ctx context.Context, prefix string, after Revision) (Watcher, error)
	// Session opens a session that ends ttl after its last renewal. The
	// implementation may round ttl up.
	Session(ctx context.Context, ttl time.Duration) (Session, error)
	// Compact forgets the history before revision r: older snapshots and watches
	// from before it get ErrCompacted. Compacting what is compacted is nil.
	Compact(ctx context.Context, r Revision) error
	// Close releases everything; it does not end sessions, which expire by themselves.
	Close() error
}
