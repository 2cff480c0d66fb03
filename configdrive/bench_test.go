package configdrive

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

var benchSizes = []struct {
	name string
	size int
}{{"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

func benchConfig(size int) Config {
	c := configs()["second_routed"]
	c.UserData, c.RandomSeed = randomBytes(size), randomBytes(512)
	return c
}

// BenchmarkBuild makes a drive in memory.
func BenchmarkBuild(b *testing.B) {
	for _, s := range benchSizes {
		b.Run("user="+s.name, func(b *testing.B) {
			c := benchConfig(s.size)
			b.ReportAllocs()
			for b.Loop() {
				build(b, c)
			}
		})
	}
}

// BenchmarkRead reads one.
func BenchmarkRead(b *testing.B) {
	image := build(b, benchConfig(1<<10))
	for b.Loop() {
		read(b, image)
	}
}

// BenchmarkDrive makes a drive as a file, from a Config: by this package, and by
// genisoimage from the tree that has to be written for it. Each time the file is
// a new one: ext4 writes a truncated one to the disk when it is closed.
func BenchmarkDrive(b *testing.B) {
	for _, s := range benchSizes {
		c := benchConfig(s.size)
		b.Run("by=configdrive/user="+s.name, func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "drive.iso")
			for b.Loop() {
				if err := os.WriteFile(out, build(b, c), 0o600); err != nil {
					b.Fatal(err)
				}
				os.Remove(out)
			}
		})
		b.Run("by=genisoimage/user="+s.name, func(b *testing.B) {
			genisoimage := need.Program(b, "genisoimage", "genisoimage")
			dir := b.TempDir()
			for b.Loop() {
				if err := byGenisoimage(genisoimage, dir, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func byGenisoimage(genisoimage, dir string, c Config) error {
	files, err := c.contents()
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree")
	for _, at := range []string{Latest, Dated} {
		if err := os.MkdirAll(filepath.Join(tree, at), 0o700); err != nil {
			return err
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(tree, at, f.Path), f.Data, 0o600); err != nil {
				return err
			}
		}
	}
	out := filepath.Join(dir, "drive.iso")
	cmd := exec.Command(genisoimage, "-quiet", "-J", "-r", "-V", Label, "-o", out, tree)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, text)
	}
	return errors.Join(os.Remove(out), os.RemoveAll(tree))
}
