# From network_data.json as json.awk prints it: what it says of the device with
# the MAC in variable mac, as one line of key=value pairs.
{ v[$1] = $2 }
END {
	for (i = 0; ("links." i ".id") in v; i++)
		if (tolower(v["links." i ".ethernet_mac_address"]) == mac) link = i
	if (link == "") { print "mac=none"; exit }
	for (i = 0; ("networks." i ".link") in v; i++)
		if (v["networks." i ".link"] == v["links." link ".id"]) net = i
	n = "networks." net "."
	for (i = 0; (n "routes." i ".network") in v; i++)
		if (v[n "routes." i ".network"] == "0.0.0.0") router = v[n "routes." i ".gateway"]
	printf "mac=%s address=%s netmask=%s mtu=%s router=%s\n", mac, known(v[n "ip_address"]),
		known(v[n "netmask"]), known(v["links." link ".mtu"]), known(router)
}
function known(s) { return s == "" ? "none" : s }
