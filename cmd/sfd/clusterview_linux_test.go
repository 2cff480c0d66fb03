package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/netfab/linux"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store/etcd"
)

// settled waits until records and hosts agree, and nothing is left to do: nothing
// runs twice, is missing, or was left behind.
func (c *cluster) settled(ctx context.Context) {
	c.Helper()
	s, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{"http://" + c.forward()}})
	if err != nil {
		c.Fatal(err)
	}
	defer s.Close()
	var hosts []sftest.HostView
	for _, n := range c.nodes {
		fabric := n.fabric()
		defer fabric.Close()
		hosts = append(hosts, sftest.HostView{Node: n.name, Hypervisor: machinesView{n: n}, Volumes: volumesView{n: n}, Fabric: fabric})
	}
	c.soon(ctx, "records and hosts agree", func() error {
		wrong, err := sftest.Invariants(ctx, s, hosts, true)
		if err == nil && len(wrong) > 0 {
			err = errors.New(strings.Join(wrong, "; "))
		}
		return err
	})
}

// forward carries what is said to an address of loopback to a member of etcd.
func (c *cluster) forward() string {
	c.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { l.Close() })
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := dial(context.Background(), c.nodes[0].machine, c.nodes[0].address+":2379")
			if err != nil {
				here.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{here, there}, {there, here}} {
				go func() {
					io.Copy(pair[0], pair[1])
					pair[0].Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

// machinesView is what runs on a node by the word of the kernel, and what is defined
// by that of the file system.
type machinesView struct {
	driver.Hypervisor
	n *clusterNode
}

func (v machinesView) List(context.Context) (list []driver.Status, err error) {
	running := v.n.machines()
	for id := range running {
		list = append(list, driver.Status{ID: id, State: driver.Running})
	}
	defined, err := os.ReadDir(filepath.Join(v.n.dir, "data", "machines", "machines"))
	for _, d := range defined {
		if running[d.Name()] == 0 {
			list = append(list, driver.Status{ID: d.Name(), State: driver.Stopped})
		}
	}
	return list, err
}

// volumesView is the directories of a node's instances, and the files of its cache.
type volumesView struct {
	driver.Volumes
	driver.Images
	n *clusterNode
}

func (v volumesView) List(context.Context) (ids []string, err error) {
	entries, err := os.ReadDir(filepath.Join(v.n.dir, "data", "instances"))
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}

func (v volumesView) ListImages(context.Context) (list []driver.CachedImage, err error) {
	entries, err := os.ReadDir(filepath.Join(v.n.dir, "data", "image_cache", "images"))
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), ".")
		list = append(list, driver.CachedImage{Image: driver.Image{ID: id}})
	}
	return list, err
}

// fabric is a second look at a node's networks.
func (n *clusterNode) fabric() *linux.Fabric {
	n.Helper()
	known, err := readIdentity(&config{dataDir: filepath.Join(n.dir, "data"), etcd: etcdOptions{endpoints: []string{"etcd"}}})
	if err != nil {
		n.Fatal(err)
	}
	f, err := linux.New(linux.Config{
		Tag: known.tag(), NetNSDir: filepath.Join(n.dir, "netns"), HostNetNS: fmt.Sprintf("/proc/self/fd/%d", n.machine.Fd()), Resync: -1,
	})
	if err != nil {
		n.Fatal(err)
	}
	return f
}
