package guest

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
)

// bootSector is boot/boot.S, assembled.
//
//go:embed boot/boot.bin
var bootSector []byte

// What boot/boot.S and this file agree on.
const (
	sectorSize   = 512
	chunkSize    = 64 * sectorSize // what the boot sector reads at a time
	offSetup     = 0x182           // where it keeps the sectors of the real-mode part
	offPieces    = 0x184           // and what to load where
	offPartition = 0x1be

	setupAddress   = 0x90000  // of the kernel's real-mode part
	commandLine    = 0xe000   // offset of the command line from there
	commandLineMax = 2048     // its length with the final zero
	kernelAddress  = 0x100000 // of the protected-mode part
)

// buildDisk lays out a raw disk: boot sector, the kernel's real-mode part with
// its header filled in and the command line behind it, the rest of the kernel,
// and the initramfs.
func buildDisk(kernel, initramfs []byte, cmdline string) ([]byte, error) {
	bz, err := parseBzImage(kernel)
	if err != nil {
		return nil, err
	}
	if len(cmdline) >= commandLineMax {
		return nil, fmt.Errorf("guest: kernel command line of %d bytes, at most %d fit", len(cmdline), commandLineMax-1)
	}
	initrdAddress := bz.firstFreeAddress()

	setup := make([]byte, commandLine+commandLineMax)
	copy(setup, bz.setup)
	copy(setup[commandLine:], cmdline)
	fillHeader(setup, initrdAddress, len(initramfs))

	disk := append([]byte(nil), bootSector...)
	disk = append(disk, setup...)
	put16(disk, offSetup, len(setup)/sectorSize)
	put32(disk, offPieces, kernelAddress)
	put32(disk, offPieces+4, chunks(bz.body))
	put32(disk, offPieces+8, initrdAddress)
	put32(disk, offPieces+12, chunks(initramfs))
	disk = appendPadded(disk, bz.body, chunkSize)
	disk = appendPadded(disk, initramfs, chunkSize)
	disk = appendPadded(disk, nil, 1<<20)
	writePartition(disk)
	return disk, nil
}

// bzImage is a kernel file's two parts.
type bzImage struct {
	setup []byte // real mode, with the header
	body  []byte // protected mode
}

func parseBzImage(kernel []byte) (bzImage, error) {
	if len(kernel) < 0x268 || string(kernel[0x202:0x206]) != "HdrS" {
		return bzImage{}, errors.New("guest: the kernel is not a bzImage")
	}
	if v := binary.LittleEndian.Uint16(kernel[0x206:]); v < 0x20a {
		return bzImage{}, fmt.Errorf("guest: the kernel's boot protocol is %#x, 0x20a or newer is needed", v)
	}
	size := (int(kernel[0x1f1]) + 1) * sectorSize
	if size > len(kernel) || size > 0x8000 {
		return bzImage{}, fmt.Errorf("guest: the kernel's real-mode part of %d bytes does not fit", size)
	}
	return bzImage{kernel[:size], kernel[size:]}, nil
}

// firstFreeAddress is where the initramfs can be put: behind the memory that the
// kernel unpacks itself into.
func (bz bzImage) firstFreeAddress() int {
	preferred := int(binary.LittleEndian.Uint64(bz.setup[0x258:]))
	initSize := int(binary.LittleEndian.Uint32(bz.setup[0x260:]))
	const mib = 1 << 20
	return (preferred + initSize + mib - 1) / mib * mib
}

// fillHeader sets what a boot loader has to tell the kernel.
func fillHeader(setup []byte, initrdAddress, initrdSize int) {
	const (
		loadedHigh = 0x01
		canUseHeap = 0x80
	)
	setup[0x210] = 0xff // a loader without a number of its own
	setup[0x211] |= loadedHigh | canUseHeap
	put32(setup, 0x218, initrdAddress)
	put32(setup, 0x21c, initrdSize)
	put16(setup, 0x224, commandLine-0x200) // the end of the heap
	put32(setup, 0x228, setupAddress+commandLine)
}

// writePartition covers everything behind the boot sector with one partition of
// type "non-FS data", so that tools see a disk that is in use.
func writePartition(disk []byte) {
	entry := disk[offPartition:]
	entry[0] = 0x80 // active; some BIOSes boot from nothing else
	copy(entry[1:], []byte{0, 2, 0, 0xda, 0xff, 0xff, 0xff})
	put32(entry, 8, 1)
	put32(entry, 12, len(disk)/sectorSize-1)
}

func chunks(data []byte) int { return (len(data) + chunkSize - 1) / chunkSize }

// appendPadded appends data and zeros: to a multiple of unit behind data, or of
// the whole where there is no data.
func appendPadded(disk, data []byte, unit int) []byte {
	disk = append(disk, data...)
	size := len(data)
	if data == nil {
		size = len(disk)
	}
	return append(disk, make([]byte, (unit-size%unit)%unit)...)
}

func put16(b []byte, at, v int) { binary.LittleEndian.PutUint16(b[at:], uint16(v)) }
func put32(b []byte, at, v int) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
