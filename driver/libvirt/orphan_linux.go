package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"
)

// errOrphan is tried again by call until QEMU has ended its job.
var errOrphan = errors.New("QEMU still copies for a snapshot that libvirt lost")

// abandon ends a backup that waits, and what QEMU copies for it.
func (m *machine) abandon(c *conn) error {
	if _, err := endOrphans(c, m.id); err != nil {
		return err
	}
	return c.DomainAbortJob(dom(m.id))
}

// endOrphans ends a QEMU's copies that libvirt knows nothing of any more, and reports
// whether there are any: they go on, and none of the same disk begins before they are
// dismissed. There is nobody else to tell QEMU; that marks the domain as tainted, so it
// is done only where there is trouble.
func endOrphans(c *conn, id string) (found bool, err error) {
	jobs, err := monitor[[]struct{ ID, Type, Status string }](c, id, "query-jobs", "")
	if err != nil {
		return false, err
	}
	for _, j := range jobs {
		if j.Type != "backup" {
			continue
		}
		found = true
		if j.Status == "concluded" {
			_, err = monitor[struct{}](c, id, "job-dismiss", j.ID)
		} else if _, err = monitor[struct{}](c, id, "job-cancel", j.ID); err == nil {
			err = errOrphan
		}
		if err != nil {
			return true, err
		}
	}
	return found, nil
}

// monitor has a QEMU execute a command, whose argument is a job's name if any.
func monitor[T any](c *conn, id, command, job string) (answer T, err error) {
	type arguments struct {
		ID string `json:"id"`
	}
	q := struct {
		Execute   string     `json:"execute"`
		Arguments *arguments `json:"arguments,omitempty"`
	}{Execute: command}
	if job != "" {
		q.Arguments = &arguments{job}
	}
	text, err := json.Marshal(q)
	if err != nil {
		return answer, err
	}
	out, err := c.QEMUDomainMonitorCommand(dom(id), string(text), 0)
	if err != nil {
		return answer, err
	}
	var a struct {
		Return T
		Error  *struct{ Desc string }
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return answer, errOurs{fmt.Errorf("QEMU's answer to %s: %w", command, err)}
	}
	if a.Error != nil {
		return answer, errOurs{fmt.Errorf("QEMU refuses %s: %s", command, a.Error.Desc)}
	}
	return a.Return, nil
}
