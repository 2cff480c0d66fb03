package configdrive_test

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/configdrive"
)

func Example() {
	image, err := configdrive.Build(configdrive.Config{
		UUID:     "0b6a7b0c-4f43-4e64-8ab5-6e1d34fb2a6e",
		Name:     "web",
		UserData: []byte("#cloud-config\npackages: [nginx]\n"),
		Interfaces: []configdrive.Interface{{
			UUID:         "7d1c8a1e-6a53-4d0f-a2a9-0c54d0f8e1aa",
			Network:      "36c1e2d4-09a4-4ad6-8f4f-6f3d8f0a3c55",
			MAC:          "02:00:00:ab:cd:ef",
			Addr:         netip.MustParsePrefix("192.168.242.5/24"),
			Gateway:      netip.MustParseAddr("192.168.242.1"),
			DefaultRoute: true,
			MTU:          1450,
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	drive, err := configdrive.Read(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		fmt.Println(err)
		return
	}
	meta, _ := drive.MetaData()
	network, _ := drive.NetworkData()
	fmt.Println(drive.Label, meta.Hostname, network.Networks[0].Address)
	// Output: config-2 web.local 192.168.242.5
}
