package tap

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver/internal/netns"
)

// Counters are the bytes that a tap got from its guest and gave it, since it was
// made.
func Counters(ns, name string) (in, out int64, err error) {
	var table []byte
	err = netns.Do(ns, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return parseCounters(table, name)
}

// parseCounters finds an interface in /proc/net/dev: its name, then bytes received
// and seven more numbers, then bytes sent.
func parseCounters(table []byte, name string) (in, out int64, err error) {
	for line := range bytes.Lines(table) {
		who, rest, _ := strings.Cut(string(line), ":")
		fields := strings.Fields(rest)
		if strings.TrimSpace(who) != name || len(fields) < 9 {
			continue
		}
		if in, err = strconv.ParseInt(fields[0], 10, 64); err == nil {
			out, err = strconv.ParseInt(fields[8], 10, 64)
		}
		return in, out, err
	}
	return 0, 0, fmt.Errorf("no such interface")
}
