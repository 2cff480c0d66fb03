package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (\S+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$`)
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)$`)
	lastBound  = regexp.MustCompile(`,?le="([^"]*)"`)
)

// promtext parses Prometheus' text format and says all that is wrong with it, to a
// reader and by convention: each family is whole, has a help and a type, counters
// end in _total, and histograms add up.
func promtext(text string) (values map[string]float64, wrong []string) {
	values = map[string]float64{}
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !strings.HasSuffix(text, "\n") {
		complain("the last line does not end")
	}
	kinds, helped := map[string]string{}, map[string]bool{}
	family, buckets := "", map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := helpLine.FindStringSubmatch(line); m != nil {
			if helped[m[1]] {
				complain("%s has two helps", m[1])
			}
			helped[m[1]] = true
			continue
		}
		if m := typeLine.FindStringSubmatch(line); m != nil {
			family = m[1]
			if kinds[family] != "" || !helped[family] {
				complain("%s is introduced twice, or without a help", family)
			}
			if kinds[family] = m[2]; m[2] == "counter" != strings.HasSuffix(family, "_total") {
				complain("%s is a %s", family, m[2])
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			complain("not in the format: %q", line)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if _, twice := values[m[1]+m[2]]; err != nil || twice {
			complain("%q: twice: %v, %v", line, twice, err)
		}
		values[m[1]+m[2]] = v
		part, ofFamily := strings.CutPrefix(m[1], family)
		switch {
		case !ofFamily, kinds[family] != "histogram" && part != "":
			complain("%q is not of the family %s that it stands in", line, family)
		case kinds[family] == "histogram":
			checkHistogram(line, part, m[2], v, buckets, complain)
		}
	}
	return values, wrong
}

// checkHistogram checks a line of one: what is within a bound is within the next, too,
// and the last bound is without end.
func checkHistogram(line, part, labels string, v float64, buckets map[string]float64, complain func(string, ...any)) {
	series := strings.TrimSuffix(lastBound.ReplaceAllString(labels, ""), "{}")
	switch part {
	case "_bucket":
		if v < buckets[series] {
			complain("%q: there were %v within the bound before", line, buckets[series])
		}
		if buckets[series] = v; strings.Contains(labels, `le="+Inf"`) {
			buckets[series+" all"] = v
			delete(buckets, series)
		}
	case "_sum":
	case "_count":
		if all, ok := buckets[series+" all"]; !ok || all != v {
			complain("%q: the last bound has %v", line, all)
		}
		delete(buckets, series+" all")
	default:
		complain("%q: a histogram has no %s", line, part)
	}
}
