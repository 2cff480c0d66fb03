//go:build !linux

package qcow2

// extent implements extents: without SEEK_DATA all may be data.
func (f rawFile) extent(offset int64) (data bool, length int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return false, 0, err
	}
	return true, st.Size() - offset, nil
}
