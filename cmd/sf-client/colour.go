package main

import (
	"strings"
)

// Colours, as terminals know them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

// paint colours a text where people look.
func (a *app) paint(text, colour string) string {
	if !a.colour || a.format != pretty || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// colours of states and the like.
var colours = map[string]string{
	"created": green, "on": green, "done": green,
	"initial": yellow, "creating": yellow, "preflight": yellow, "deleting": yellow, "paused": yellow, "pending": yellow, "started": yellow,
	"error": red, "crashed": red, "failed": red, "interrupted": red,
	"deleted": grey, "off": grey,
}

// paintState colours what is shown below a heading, if that is a state. Spaces around
// it don't count.
func (a *app) paintState(heading, text string) string {
	switch heading {
	case "state", "power state":
		return a.paint(text, colours[strings.TrimSpace(text)])
	case "error":
		return a.paint(text, red)
	}
	return text
}
