package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/socket"
	"github.com/shakenfist/cloud/driver/internal/tap"
)

// number finds a number among typed parameters, 0 when it is not there.
func number(params []golibvirt.TypedParam, field string) int64 {
	for _, p := range params {
		if p.Field != field {
			continue
		}
		switch v := p.Value.I.(type) {
		case int32:
			return int64(v)
		case uint32:
			return int64(v)
		case int64:
			return v
		case uint64:
			return int64(v)
		}
	}
	return 0
}

// Stats implements driver.Stater. What NICs did is read at their taps, which may
// be where libvirt does not look.
func (h *Hypervisor) Stats(ctx context.Context, id string) (driver.Stats, error) {
	var st driver.Stats
	err := h.withOn(ctx, id, "measure", func(ctx context.Context, m *machine) error {
		var params []golibvirt.TypedParam
		err := h.call(ctx, h.cfg.Timeout, func(c *conn) error {
			kinds := golibvirt.DomainStatsCPUTotal | golibvirt.DomainStatsBalloon | golibvirt.DomainStatsBlock
			records, err := c.ConnectGetAllDomainStats([]golibvirt.Domain{dom(id)}, uint32(kinds), 0)
			if err == nil && len(records) > 0 {
				params = records[0].Params
			}
			return err
		})
		if err != nil {
			return err
		}
		st.CPUNanoseconds = number(params, "cpu.time")
		st.MemoryBytes = number(params, "balloon.rss") << 10
		for i := range int(number(params, "block.count")) {
			st.ReadBytes += number(params, fmt.Sprintf("block.%d.rd.bytes", i))
			st.WrittenBytes += number(params, fmt.Sprintf("block.%d.wr.bytes", i))
		}
		for _, n := range m.spec().NICs {
			// What the host sends into a tap the guest receives.
			in, out, err := tap.Counters(n.NetNS, n.Tap)
			if err != nil {
				return fmt.Errorf("tap %s: %w", n.Tap, err)
			}
			st.ReceivedBytes += out
			st.SentBytes += in
		}
		return nil
	})
	return st, err
}

// Display implements driver.Displayer, on a socket that libvirt makes for each
// run of a machine.
func (h *Hypervisor) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var view net.Conn
	err := h.withOn(ctx, id, "show the screen of", func(ctx context.Context, m *machine) error {
		ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
		defer cancel()
		if m.spec().Video.Model == "none" {
			return fmt.Errorf("%w: it has no screen (video model none)", driver.ErrInvalid)
		}
		text, err := ask(ctx, h, func(c *conn) (string, error) { return c.DomainGetXMLDesc(dom(id), 0) })
		if err != nil {
			return err
		}
		var d struct {
			Listen []struct {
				Socket string `xml:"socket,attr"`
			} `xml:"devices>graphics>listen"`
		}
		if err := xml.Unmarshal([]byte(text), &d); err != nil {
			return err
		}
		if len(d.Listen) == 0 || d.Listen[0].Socket == "" {
			return fmt.Errorf("libvirt names no socket for the screen")
		}
		return h.again(ctx, func() (bool, error) {
			view, err = socket.Dial(ctx, h.place().path(d.Listen[0].Socket), h.cfg.Timeout)
			return errors.Is(err, fs.ErrNotExist), err // where a libvirtd that is gone had it: its successor comes
		})
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}
