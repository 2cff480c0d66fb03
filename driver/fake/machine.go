package fake

import (
	"fmt"
	"io"

	"github.com/shakenfist/cloud/driver"
)

// keepLog is how many bytes of a console log are kept.
const keepLog = 256 << 10

// machine is one simulated machine. The Host's lock guards it.
type machine struct {
	host     *Host
	spec     driver.Spec
	guest    Guest
	status   driver.Status
	jobs     map[string]*job
	log      []byte
	logBase  int64 // offset of log[0] among the bytes ever printed
	typed    []byte
	consoles []*console
	screens  []*screen
	looks    int64 // how often Stats was asked since the start
}

func (m *machine) boot() {
	m.guest = m.host.cfg.Guest(m.spec)
	m.host.pid++
	m.status.PID = m.host.pid
	m.looks = 0
	m.status.Boot++
	m.change(driver.Running, "")
	m.banner()
	m.do(m.guest.After)
}

// do is an act of the guest; see Guest.Commands.
func (m *machine) do(what string) {
	switch what {
	case "shutdown":
		m.end(driver.Stopped, "guest shut down")
	case "crash":
		m.end(driver.Crashed, "guest crashed")
	case "reset":
		m.reset()
	}
}

// reset is a new boot of the guest in the machine that runs.
func (m *machine) reset() {
	m.status.Resets++
	m.host.events.Publish(driver.Event{ID: m.spec.ID, State: m.status.State, Reason: "guest restarted"})
	m.banner()
}

func (m *machine) banner() {
	text := m.guest.Console
	if text == "" {
		text = fmt.Sprintf("Booting %s\r\n\r\n%s login: ", m.spec.ID, m.spec.Name)
	}
	m.print([]byte(text))
}

func (m *machine) change(s driver.State, reason string) {
	m.status.State, m.status.Reason = s, reason
	m.status.Since = m.host.cfg.Now()
	m.host.events.Publish(driver.Event{ID: m.spec.ID, State: s, Reason: reason})
}

// end turns the machine off; its consoles and screens read
// io.EOF after what is left.
func (m *machine) end(s driver.State, reason string) {
	m.status.PID = 0
	for _, c := range m.consoles {
		c.output.End(io.EOF)
	}
	for _, s := range m.screens {
		s.output.End(io.EOF)
	}
	m.consoles, m.screens = nil, nil
	m.change(s, reason)
}

func (m *machine) print(p []byte) {
	m.log = append(m.log, p...)
	if over := len(m.log) - keepLog; over > 0 {
		m.log = append([]byte(nil), m.log[over:]...)
		m.logBase += int64(over)
	}
	for _, c := range m.consoles {
		c.output.Feed(p)
	}
}

// press is the ACPI power button.
func (m *machine) press(restart bool) {
	if m.status.State != driver.Running || m.guest.IgnoresPower {
		return
	}
	if !restart {
		m.end(driver.Stopped, "guest shut down when asked to")
		return
	}
	m.status.Boot++
	m.change(driver.Running, "")
	m.banner()
}

// read is ConsoleLog on this machine.
func (m *machine) read(offset int64, p []byte) (int, int64) {
	end := m.logBase + int64(len(m.log))
	if offset < 0 {
		offset += end
	}
	offset = min(max(offset, m.logBase), end)
	return copy(p, m.log[offset-m.logBase:]), end
}
