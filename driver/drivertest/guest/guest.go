// Package guest makes the small machine that the tests and the demonstration
// boot: Debian's cloud kernel, a static busybox and a few shell scripts in an
// initramfs. It comes up in about two seconds with software emulation, asks for
// its addresses by DHCP, reads its config drive, says on the serial console what
// it found, and offers a login prompt with a root shell behind it.
//
// # What it says
//
// Every line meant for programs begins with "sfguest: ", then a word, then
// key=value pairs without blanks in the values:
//
//	sfguest: hostname name=web.local
//	sfguest: configdrive device=/dev/vdb uuid=… name=web
//	sfguest: configdrive eth0 mac=… address=10.0.0.5 netmask=255.255.255.0 mtu=1450 router=10.0.0.1
//	sfguest: dhcp eth0 event=bound address=10.0.0.5 netmask=255.255.255.0 router=10.0.0.1 dns=8.8.8.8 mtu=1450 …
//	sfguest: match eth0 address=yes mtu=yes
//	sfguest: sshkey name=mykey sha256=…
//	sfguest: userdata bytes=12 sha256=…
//	sfguest: ready
//	web.local login:
//
// A value that the guest did not get is "none". A renewed lease is reported as
// event=renew, the first of several failures to get one as event=leasefail. User
// data that begins with "#!" is run after "ready" and before the login prompt, its
// output prefixed with "userdata: ".
//
// # What it does
//
// Enter at the login prompt gives a root shell on the console; Console drives it.
// Where DHCP gives no answer within four seconds, udhcpc goes on asking behind and
// the guest takes the address of its config drive ("static eth0 address=…").
// Port 80 answers with the host's name. The ACPI power button switches the
// machine off at once, `reboot -f` restarts it. There is no password anywhere:
// this is a guest for tests, not for use.
//
// # Where it boots from
//
// Image writes a disk with a boot loader (BIOS), and Kernel the two files for
// QEMU's -kernel and -initrd. Both are deterministic: the same parts give the
// same bytes.
package guest
