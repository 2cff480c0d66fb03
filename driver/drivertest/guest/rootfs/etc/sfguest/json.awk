# Prints a JSON document as lines "path value": members by name, elements by
# index, both joined with dots. Strings lose their quotes; escapes stay, but for
# \" \\ and \/. Enough for the files of a config drive.
{ text = text $0 "\n" }
END { value("") }

function blanks() { sub(/^[ \t\r\n]+/, "", text) }

function next_is(c) { blanks(); return substr(text, 1, 1) == c }

function take(c) { if (next_is(c)) { text = substr(text, 2); return 1 } return 0 }

function join(path, key) { return path == "" ? key : path "." key }

function string(   s) {
	match(text, /^"([^"\\]|\\.)*"/)
	if (RLENGTH < 2) { text = ""; return "" }
	s = substr(text, 2, RLENGTH - 2)
	text = substr(text, RLENGTH + 1)
	gsub(/\\"/, "\"", s); gsub(/\\\//, "/", s); gsub(/\\\\/, "\\", s)
	return s
}

function value(path,   key, i) {
	if (take("{")) {
		while (text != "" && !take("}")) {
			blanks(); key = string(); take(":")
			value(join(path, key)); take(",")
		}
	} else if (take("[")) {
		for (i = 0; text != "" && !take("]"); i++) { value(join(path, i)); take(",") }
	} else if (next_is("\"")) {
		print path " " string()
	} else {
		match(text, /^[^],} \t\r\n]+/)
		if (RLENGTH < 1) { text = ""; return }
		print path " " substr(text, 1, RLENGTH)
		text = substr(text, RLENGTH + 1)
	}
}
