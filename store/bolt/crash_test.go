package bolt_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
)

// crashPath, in the environment, makes the test binary a process to be killed.
const crashPath = "STORE_BOLT_CRASH_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		if err := commitForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// commitForever writes pairs of keys from several callers at once, some of them
// under a session, and says so on standard output after each commit.
func commitForever(path string) error {
	s, err := bolt.Open(path, bolt.Config{})
	if err != nil {
		return err
	}
	x, err := s.Session(background, time.Hour)
	if err != nil {
		return err
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for w := range errs {
		wg.Go(func() {
			for i := 0; errs[w] == nil; i++ {
				errs[w] = commitOne(s, x.ID(), fmt.Sprintf("%d/%d/%d", x.ID(), w, i), i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func commitOne(s store.Store, x store.SessionID, name string, i int) error {
	ops := []store.Op{store.Put("a/"+name, []byte(name)), store.Put("b/"+name, []byte(name))}
	if i%3 == 0 {
		ops[1] = store.PutIn(x, "b/"+name, []byte(name))
	}
	ops = append(ops, store.Delete(fmt.Sprintf("none/%d", i)))
	r, err := s.Commit(background, store.Txn{If: []store.Cond{store.Absent("a/" + name)}, Do: ops})
	if err == nil {
		_, err = fmt.Printf("%s %d\n", name, r)
	}
	return err
}

// A process killed at any moment loses nothing that it acknowledged, tears no
// transaction, and the next one goes on from there.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	acknowledged := map[string]store.Revision{}
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	var newest store.Revision
	for round := range rounds {
		runAndKill(t, path, 1+rng.IntN(120), acknowledged)
		s := open(t, path, bolt.Config{})
		newest = check(t, s, acknowledged, newest)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d commits acknowledged so far, revision %d", round, len(acknowledged), newest)
	}
}

// runAndKill kills the child after n acknowledgements and collects those that
// were on their way too.
func runAndKill(t *testing.T, path string, n int, acknowledged map[string]store.Revision) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashPath+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for got := 0; ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line cut off by the kill was not acknowledged
		}
		if err != nil {
			t.Fatal(err)
		}
		if line == "open\n" {
			continue
		}
		var name string
		var r store.Revision
		if _, err := fmt.Sscanf(line, "%s %d\n", &name, &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		acknowledged[name] = r
		if got++; got == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

func check(t *testing.T, s store.Store, acknowledged map[string]store.Revision, before store.Revision) store.Revision {
	t.Helper()
	l, err := s.List(background, "", store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]store.Record{}
	for _, r := range l.Records {
		found[r.Key] = r
		if before < r.Revision {
			before = r.Revision
		}
	}
	for name, r := range acknowledged {
		a, b := found["a/"+name], found["b/"+name]
		if a.Revision != r || b.Revision != r || string(a.Value) != name || string(b.Value) != name {
			t.Errorf("%s was acknowledged at %d, found at %d and %d", name, r, a.Revision, b.Revision)
		}
	}
	for key := range found {
		other := map[string]string{"a/": "b/", "b/": "a/"}[key[:2]] + key[2:]
		if found[key].Revision != found[other].Revision {
			t.Errorf("%s is there, %s is not of the same revision", key, other)
		}
	}
	if l.Revision != before {
		t.Errorf("the store is at revision %d, its newest key of %d", l.Revision, before)
	}
	return l.Revision
}
