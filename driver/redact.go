package driver

import (
	"net/url"
	"regexp"
	"strings"
)

var secretParameter = regexp.MustCompile(`(?i)(sig|token|key|secret|passw|credential|auth)`)

// Redact returns an image's name without user names, passwords and the values of
// query parameters that look like secrets, for logs and for other people.
func Redact(name string) string {
	if !strings.Contains(name, "://") {
		return name
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "(unreadable URL)"
	}
	if u.User != nil {
		u.User = url.User("***")
	}
	if u.RawQuery != "" {
		q := u.Query()
		for k := range q {
			if secretParameter.MatchString(k) {
				q[k] = []string{"***"}
			}
		}
		u.RawQuery = q.Encode()
	}
	return strings.ReplaceAll(u.String(), "%2A%2A%2A", "***")
}
