package reconcile

import (
	"strings"
	"testing"
)

// What the machine's clock says can be subtracted, whatever it is set to meanwhile: package
// time does so by the monotonic reading, which shows in a time's text.
func TestRealClockIsMonotonic(t *testing.T) {
	if now := (RealClock{}).Now(); !strings.Contains(now.String(), " m=") {
		t.Errorf("%v has no monotonic reading", now)
	}
}
