package client

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

const instances = "/instances"

// Arguments of a create. Nil is null, which means not given.

type newInstance struct {
	Name      string        `json:"name"`
	CPUs      int           `json:"cpus"`
	Memory    int           `json:"memory"`
	Network   []newNIC      `json:"network"`
	Disk      []newDisk     `json:"disk"`
	SSHKey    *string       `json:"ssh_key"`
	UserData  *string       `json:"user_data"`
	Namespace *string       `json:"namespace"`
	Video     *newVideo     `json:"video"`
	PlacedOn  string        `json:"placed_on,omitempty"`
	UEFI      bool          `json:"uefi,omitempty"`
	Metadata  spec.Metadata `json:"metadata,omitempty"`
}

type newNIC struct {
	Network string  `json:"network_uuid"`
	Address *string `json:"address"`
	MAC     *string `json:"macaddress"`
	Model   *string `json:"model"`
	Float   bool    `json:"float,omitempty"`
}

type newDisk struct {
	Size int     `json:"size"`
	Base *string `json:"base"`
	Bus  *string `json:"bus"`
	Type *string `json:"type"`
}

type newVideo struct {
	Model  string `json:"model"`
	Memory int    `json:"memory"`
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func arguments(namespace string, s *spec.InstanceSpec) *newInstance {
	a := &newInstance{
		Name: s.Name, CPUs: s.CPUs, Memory: s.MemoryMiB, SSHKey: orNull(s.SSHKey), Namespace: orNull(namespace),
		UserData: orNull(base64.StdEncoding.EncodeToString(s.UserData)), PlacedOn: s.PlacedOn, UEFI: s.UEFI, Metadata: s.Metadata,
	}
	for _, n := range s.Interfaces {
		a.Network = append(a.Network, newNIC{n.Network, orNull(n.Address), orNull(n.MAC), orNull(n.Model), n.Float})
	}
	for _, d := range s.Disks {
		a.Disk = append(a.Disk, newDisk{d.SizeGB, orNull(d.Base), orNull(d.Bus), orNull(d.Type)})
	}
	if s.Video != (spec.Video{}) {
		a.Video = &newVideo{s.Video.Model, s.Video.MemoryKiB}
	}
	return a
}

// CreateInstance records an instance; see WaitInstance. An empty namespace is the
// client's own; others are system's to use.
func (c *Client) CreateInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*spec.Instance, error) {
	once, err := c.onceKey(s.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	var r instanceRecord
	err = c.do(ctx, call{method: http.MethodPost, path: c.path(instances), args: arguments(namespace, &s), once: once, into: &r})
	return r.instance(), err
}

// Instance returns one instance, a deleted one too while its record is kept. Its
// UserData is filled in.
func (c *Client) Instance(ctx context.Context, id string) (*spec.Instance, error) {
	return c.instanceSince(ctx, id, "")
}

// instanceSince returns an instance once it has another version than the one that
// is known, or when the server's patience ends.
func (c *Client) instanceSince(ctx context.Context, id, known string) (*spec.Instance, error) {
	var r instanceRecord
	err := c.get(ctx, instances+pathOf(id)+since(known), &r)
	return r.instance(), err
}

// Instances lists the instances that the client may see; with all, those that
// are deleted or in error too.
func (c *Client) Instances(ctx context.Context, all bool) ([]*spec.Instance, error) {
	var list []instanceRecord
	err := c.do(ctx, call{method: http.MethodGet, path: instances, args: allArg(all), into: &list})
	return each(list, (*instanceRecord).instance), err
}

// DeleteInstance asks for an instance to be deleted, whatever it is doing; see
// WaitInstance.
func (c *Client) DeleteInstance(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: c.path(instances + pathOf(id))})
}

// DeleteInstances deletes every instance of a namespace and waits until they are
// gone. It returns their UUIDs. An empty namespace is the client's own; system must name one,
// and its own name means every namespace.
func (c *Client) DeleteInstances(ctx context.Context, namespace string) ([]string, error) {
	return c.deleteAll(ctx, instances, namespace)
}

// InstanceInterfaces returns an instance's interfaces in order; none for one that
// is deleted.
func (c *Client) InstanceInterfaces(ctx context.Context, id string) ([]*spec.Interface, error) {
	var list []interfaceRecord
	err := c.get(ctx, instances+pathOf(id, "interfaces"), &list)
	return each(list, (*interfaceRecord).nic), err
}

// UserData returns the user data an instance was created with, nil if none.
func (c *Client) UserData(ctx context.Context, id string) ([]byte, error) {
	i, err := c.Instance(ctx, id)
	return i.UserData, err
}

// SetPower asks for an instance to be on, off (at once, like pulling the plug) or
// paused; see WaitInstance.
func (c *Client) SetPower(ctx context.Context, id string, want spec.PowerState) (*spec.Instance, error) {
	verb := map[spec.PowerState]string{spec.PowerOn: "poweron", spec.PowerOff: "poweroff", spec.PowerPaused: "pause"}[want]
	if verb == "" {
		return nil, spec.Errorf(spec.ErrInvalid, "power %q is not one of on, off, paused", want).About("instance", id)
	}
	if err := c.do(ctx, call{method: http.MethodPost, path: c.path(instances + pathOf(id, verb))}); err != nil {
		return nil, err
	}
	return c.Instance(ctx, id)
}

// Unpause lets a paused instance go on. Over servers of 0.2 this is not the same
// as SetPower to on.
func (c *Client) Unpause(ctx context.Context, id string) (*spec.Instance, error) {
	if err := c.do(ctx, call{method: http.MethodPost, path: c.path(instances + pathOf(id, "unpause"))}); err != nil {
		return nil, err
	}
	return c.Instance(ctx, id)
}

// ConsoleLog returns the last n bytes of an instance's serial console. Bytes that
// are not UTF-8 arrive as U+FFFD.
func (c *Client) ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error) {
	var log []byte
	err := c.do(ctx, call{method: http.MethodGet, path: instances + pathOf(id, "consoledata"),
		args: map[string]int64{"length": n}, into: &log})
	return log, err
}
