package record

import (
	"reflect"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()

// inUTC is value with its times in UTC: nodes may be in several zones and clocks of
// any, and a record that two of them write of one moment is the same.
func inUTC(value any) any {
	v := reflect.ValueOf(value)
	if !v.IsValid() || !zoned(v) {
		return value
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	turn(c)
	return c.Interface()
}

// zoned reports whether v has a time of a zone that shows in its text.
func zoned(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && zoned(v.Elem())
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.Struct && k != reflect.Pointer {
			return false
		}
		for i := range v.Len() {
			if zoned(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		if v.Type() == timeType { // asked first: to take the whole of a record costs a copy
			_, offset := v.Interface().(time.Time).Zone()
			return offset != 0
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && zoned(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// turn puts what zoned finds in v into UTC. What v shares with others it copies.
func turn(v reflect.Value) {
	if !zoned(v) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		turn(c.Elem())
		v.Set(c)
	case reflect.Slice:
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := range c.Len() {
			turn(c.Index(i))
		}
		v.Set(c)
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(v.Interface().(time.Time).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				turn(v.Field(i))
			}
		}
	}
}
