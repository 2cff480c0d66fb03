// Package need states what a test needs of its machine: root, a program, a
// device. On a developer's machine a missing part skips the test and says so;
// where CI=true or SF_REQUIRE=1 is set it fails, so that a green run means that
// everything ran. SF_REQUIRE=0 leaves all of them out wherever they could run:
// the fast tests.
package need

import (
	"os"
	"os/exec"
)

// TB is the part of testing.TB that this package uses, so that importing it
// does not link package testing.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Strict reports whether a missing part fails the test rather than skips it.
func Strict() bool {
	return !leftOut() && (os.Getenv("CI") == "true" || os.Getenv("SF_REQUIRE") == "1")
}

func leftOut() bool { return os.Getenv("SF_REQUIRE") == "0" }

// Missing skips t, or fails it where Strict, because of a part that is not there.
func Missing(t TB, format string, args ...any) {
	t.Helper()
	if leftOut() {
		t.Skipf("left out of the fast tests (SF_REQUIRE=0)")
	}
	if Strict() {
		t.Fatalf("MISSING: "+format, args...)
	}
	t.Skipf("SKIPPED, NOT TESTED: "+format, args...)
}

// Root needs the test to run as root.
func Root(t TB) {
	t.Helper()
	if leftOut() || os.Geteuid() != 0 {
		Missing(t, "root is required (run `sudo make test`)")
	}
}

// Program needs an executable, found on PATH or in the sbin directories that a
// plain user's PATH lacks, and returns its path. debianPackage says what to install.
func Program(t TB, name, debianPackage string) string {
	t.Helper()
	if leftOut() {
		Missing(t, "")
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	Missing(t, "program %q not found (Debian package %s; `make deps` installs it)", name, debianPackage)
	return ""
}

// File needs a file or device to exist.
func File(t TB, path, why string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil || leftOut() {
		Missing(t, "%s: %v (%s)", path, err, why)
	}
}
