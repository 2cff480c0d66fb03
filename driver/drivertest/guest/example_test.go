package guest_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
)

func ExampleBuild() {
	err := guest.Build(context.Background(), guest.Options{Out: "guest.qcow2"})
	if err != nil {
		log.Fatal(err)
	}
}

// The serial port of a guest, on a socket of QEMU's.
func ExampleConsole() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := net.Dial("unix", "serial.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	console := guest.NewConsole(conn)

	lease, err := console.Report(ctx, "dhcp eth0")
	if err != nil {
		log.Fatal(err) // shows what the guest said last
	}
	if err := console.Login(ctx); err != nil {
		log.Fatal(err)
	}
	output, status, err := console.Run(ctx, "ping -c 1 "+lease["router"])
	fmt.Println(output, status, err)
}
