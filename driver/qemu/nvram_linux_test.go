package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

// Variables that a loss of power left empty are made anew, since no machine starts with
// them; those that a guest has are kept.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	fresh := bytes.Repeat([]byte("fresh"), 1000)
	h := &Hypervisor{probed: &probe{uefiCode: filepath.Join(dir, "code"), uefiVars: filepath.Join(dir, "vars")}}
	for path, content := range map[string][]byte{h.probed.uefiCode: {1}, h.probed.uefiVars: fresh} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := driver.Spec{Dir: dir}
	for _, tt := range []struct{ there, want []byte }{{nil, fresh}, {[]byte{}, fresh}, {[]byte("a guest's"), []byte("a guest's")}} {
		if tt.there != nil {
			if err := os.WriteFile(nvram(s), tt.there, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		in := &inherited{}
		_, err := h.openFirmware(in, s)
		in.close()
		if got, _ := os.ReadFile(nvram(s)); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("of %q became %.20q, %v", tt.there, got, err)
		}
	}
}
