package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/sf/spec"
)

// SystemFile is where a daemon leaves the credentials for this machine.
const SystemFile = "/etc/sf/shakenfist.json"

// Finder looks for credentials where those of Shaken Fist have always been.
type Finder struct {
	// Getenv reads an environment variable; nil is os.Getenv.
	Getenv func(string) string
	// Files are tried in order; nil is ~/.shakenfist and SystemFile.
	Files []string
}

// Find completes a configuration. Namespace, Key, URL and Fingerprint come from what
// is given, then from $SHAKENFIST_NAMESPACE, $SHAKENFIST_KEY, $SHAKENFIST_API_URL and
// $SHAKENFIST_API_FINGERPRINT. Where that gives no namespace, all four come from the
// first file that exists, a JSON object with the members namespace, key and apiurl,
// and perhaps fingerprint.
func (f Finder) Find(given Config) (Config, error) {
	getenv := f.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	for _, v := range []struct {
		value *string
		name  string
	}{
		{&given.Namespace, "SHAKENFIST_NAMESPACE"}, {&given.Key, "SHAKENFIST_KEY"}, {&given.URL, "SHAKENFIST_API_URL"},
		{&given.Fingerprint, "SHAKENFIST_API_FINGERPRINT"},
	} {
		if *v.value == "" {
			*v.value = getenv(v.name)
		}
	}
	if given.Namespace != "" {
		return given, nil
	}
	files := f.Files
	if files == nil {
		files = defaultFiles()
	}
	for _, name := range files {
		found, err := ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return given, err
		}
		given.Namespace, given.Key, given.URL, given.Fingerprint = found.Namespace, found.Key, found.URL, found.Fingerprint
		return given, nil
	}
	return given, spec.Errorf(spec.ErrInvalid, "no credentials: give --namespace and --key, or set SHAKENFIST_NAMESPACE and SHAKENFIST_KEY, or have a file ~/.shakenfist or %s that you may read", SystemFile)
}

func defaultFiles() []string {
	files := []string{SystemFile}
	if home, err := os.UserHomeDir(); err == nil {
		files = append([]string{filepath.Join(home, ".shakenfist")}, files...)
	}
	return files
}

// ReadFile reads a client file.
func ReadFile(name string) (Config, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Config{}, err
	}
	cfg, err := parseFile(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return cfg, nil
}

func parseFile(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, spec.Errorf(spec.ErrInvalid, "not a JSON object with namespace, key and apiurl").Because(err)
	}
	if c.Namespace == "" || c.Key == "" || c.URL == "" {
		return Config{}, spec.Errorf(spec.ErrInvalid, "needs the members namespace, key and apiurl")
	}
	return c, nil
}

// WriteFile writes a client file that only its owner can read.
func WriteFile(name string, c Config) error {
	data, err := json.MarshalIndent(c, "", "    ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o600)
}
