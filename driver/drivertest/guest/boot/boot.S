# The boot sector of the guest's disk: reads Linux and its initramfs by BIOS
# calls and starts it by the 16-bit boot protocol (Documentation/x86/boot.rst).
# The builder of the disk has already done all that needs thought: the kernel's
# header on the disk is filled in, and a table at the end of the code says which
# sectors go where. So this takes 0.3 s under software emulation (GRUB 3 s), and
# building takes no file system and no foreign program.
#
# Assemble: as --32 -o boot.o boot.S && ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o boot.bin boot.o
# TestBootSector does, and compares.

        .code16
        .globl  _start

        .set    CHUNK, 64               # sectors a read: 32 KiB
        .set    BUFFER, 0x1000          # segment that a chunk is read to
        .set    SETUP, 0x9000           # segment of the kernel's real-mode part

_start: ljmp    $0, $start              # some BIOSes come in as 07c0:0000
start:  cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        cld
        movb    %dl, drive

        # The real-mode part and the command line, in one read.
        movw    setup_sectors, %ax
        movw    %ax, packet_count
        movw    $SETUP, packet_segment
        call    read

        # Then every piece of the table: chunk by chunk, read low, copy high.
        movw    $BUFFER, packet_segment
        movw    $CHUNK, packet_count
        movw    $pieces, %bx
piece:  movl    (%bx), %eax             # address to load to
        testl   %eax, %eax
        jz      boot
        movl    %eax, target
        movl    4(%bx), %ebp            # chunks
chunk:  call    read
        call    copy
        decl    %ebp
        jnz     chunk
        addw    $8, %bx
        jmp     piece

boot:   cli
        movw    $SETUP, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        movw    $0xdf00, %sp
        ljmp    $SETUP + 0x20, $0

# read reads what the packet says and moves the packet on to the next sectors.
read:   movb    $0x42, %ah
        movb    drive, %dl
        movw    $packet, %si
        int     $0x13
        jc      fail
        movzwl  packet_count, %eax
        addl    %eax, packet_lba
        ret

# copy moves one chunk from the buffer to target, which moves on behind it.
copy:   movl    target, %eax
        movw    %ax, to_low
        shrl    $16, %eax
        movb    %al, to_mid
        movb    %ah, to_high
        addl    $CHUNK * 512, target
        movw    $gdt, %si
        movw    $CHUNK * 256, %cx       # in words
        movb    $0x87, %ah
        int     $0x15
        jc      fail
        ret

fail:   movw    $message, %si
next:   lodsb
        testb   %al, %al
        jz      halt
        movb    $0x0e, %ah
        int     $0x10
        jmp     next
halt:   hlt
        jmp     halt

message: .asciz "sfguest: disk read error\r\n"

drive:  .byte   0
target: .long   0

        .balign 4
packet: .byte   16, 0
packet_count:   .word 0
                .word 0                 # offset
packet_segment: .word 0
packet_lba:     .quad 1                 # right behind this sector

# Descriptors as int 15h, ah=87h wants them: two unused, from, to, two for the BIOS.
gdt:    .fill   16, 1, 0
        .word   0xffff, (BUFFER << 4) & 0xffff
        .byte   BUFFER >> 12, 0x93, 0, 0
        .word   0xffff
to_low: .word   0
to_mid: .byte   0, 0x93, 0
to_high: .byte  0
        .fill   16, 1, 0

        # Filled in by the builder: at 0x180 the sectors of the real-mode part,
        # then (address, chunks) pairs until an address of zero.
        .org    0x180
        .word   0
setup_sectors: .word 0
pieces: .fill   24, 1, 0

        .org    0x1fe                   # partition table at 0x1be, by the builder
        .word   0xaa55
