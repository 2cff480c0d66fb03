package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Format is how a disk image is stored.
type Format string

// The formats that Build writes.
const (
	Raw   Format = "raw"
	Qcow2 Format = "qcow2"
	GzRaw Format = "gz" // raw, compressed with gzip
)

// Options say what Build makes. The zero value of each field means what its
// comment says; Out is required.
type Options struct {
	Out    string   // the file to write; one that is there is replaced at once
	Format Format   // "" is Qcow2
	Roots  []string // where to look for the parts; nil is DefaultRoots
	Append string   // what to add to the kernel's command line
}

// CommandLine is what the guest's kernel is told: where its console is, and what
// to leave out to be up in two seconds under software emulation (mitigations
// and self-tests matter little to a guest that runs nothing foreign).
const CommandLine = "console=ttyS0 quiet mitigations=off nokaslr no_timer_check tsc=reliable" +
	" init_on_alloc=0 rcupdate.rcu_expedited=1 cryptomgr.notests i8042.noprobe"

// Build writes a disk image that boots by BIOS from any bus that the BIOS reads
// and the guest has a driver for: virtio, SCSI (virtio-scsi), IDE, NVMe. It is a
// few tens of megabytes big and needs 128 MiB of memory.
func Build(ctx context.Context, o Options) error {
	p, err := FindParts(o.roots()...)
	if err != nil {
		return err
	}
	kernel, initramfs, err := buildBoot(p)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("guest: build %s: %w", o.Out, err)
	}
	disk, err := buildDisk(kernel, initramfs, o.commandLine())
	if err != nil {
		return err
	}
	data, err := encode(disk, o.Format)
	if err != nil {
		return err
	}
	return writeFile(o.Out, data)
}

// KernelInitrd writes the two files for QEMU's -kernel and -initrd. Give the
// kernel CommandLine.
func KernelInitrd(kernelOut, initrdOut string, roots ...string) error {
	p, err := FindParts(Options{Roots: roots}.roots()...)
	if err != nil {
		return err
	}
	kernel, initramfs, err := buildBoot(p)
	if err != nil {
		return err
	}
	if err := writeFile(kernelOut, kernel); err != nil {
		return err
	}
	return writeFile(initrdOut, initramfs)
}

// DefaultRoots are where the parts are looked for: where `make deps` unpacks
// them, in the directory build/guest-root of the module that the working
// directory is in, and then the system itself.
func DefaultRoots() []string {
	if root := moduleRoot(); root != "" {
		return []string{filepath.Join(root, "build", "guest-root"), "/"}
	}
	return []string{"/"}
}

func (o Options) roots() []string {
	if o.Roots == nil {
		return DefaultRoots()
	}
	return o.Roots
}

func (o Options) commandLine() string {
	if o.Append == "" {
		return CommandLine
	}
	return CommandLine + " " + o.Append
}

func buildBoot(p Parts) (kernel, initramfs []byte, err error) {
	if kernel, err = os.ReadFile(p.Kernel); err != nil {
		return nil, nil, fmt.Errorf("guest: read kernel: %w", err)
	}
	initramfs, err = buildInitramfs(p)
	return kernel, initramfs, err
}

func encode(disk []byte, format Format) ([]byte, error) {
	switch format {
	case "", Qcow2:
		return encodeQcow2(disk)
	case Raw:
		return disk, nil
	case GzRaw:
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(disk) // neither fails on a bytes.Buffer
		w.Close()
		return out.Bytes(), nil
	}
	return nil, fmt.Errorf("guest: unknown format %q: want %q, %q or %q", format, Qcow2, Raw, GzRaw)
}

// writeFile replaces the file at once, so that whoever opens it sees the old or
// the new content whole.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("guest: write image: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("guest: write image %s: %w", path, err)
	}
	return nil
}

// moduleRoot is the directory of the go.mod above the working directory, or "".
func moduleRoot() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}
