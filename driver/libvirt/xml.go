package libvirt

import "encoding/xml"

// The parts of libvirt's domain format that we write, in its words.

type empty struct{}

type xmlDomain struct {
	XMLName    xml.Name    `xml:"domain"`
	Type       string      `xml:"type,attr"`
	Name       string      `xml:"name"`
	UUID       string      `xml:"uuid"`
	Title      string      `xml:"title"`
	Metadata   xmlMetadata `xml:"metadata"`
	Memory     xmlMemory   `xml:"memory"`
	VCPU       xmlVCPU     `xml:"vcpu"`
	OS         xmlOS       `xml:"os"`
	Features   xmlFeatures `xml:"features"`
	CPU        xmlCPU      `xml:"cpu"`
	Clock      xmlClock    `xml:"clock"`
	OnPoweroff string      `xml:"on_poweroff"`
	OnReboot   string      `xml:"on_reboot"`
	OnCrash    string      `xml:"on_crash"`
	PM         xmlPM       `xml:"pm"`
	Devices    xmlDevices  `xml:"devices"`
}

type xmlMetadata struct {
	Mark xmlMark `xml:"sf:machine"`
}

type xmlMark struct {
	NS    string `xml:"xmlns:sf,attr"`
	Owner string `xml:"owner,attr"`
	Spec  string `xml:"sf:spec"`
}

type xmlMemory struct {
	Unit  string `xml:"unit,attr"`
	Value int    `xml:",chardata"`
}

type xmlVCPU struct {
	Placement string `xml:"placement,attr"`
	Value     int    `xml:",chardata"`
}

type xmlOS struct {
	Type   xmlOSType  `xml:"type"`
	Loader *xmlLoader `xml:"loader"`
	NVRAM  *xmlNVRAM  `xml:"nvram"`
	BIOS   *xmlBIOS   `xml:"bios"`
}

type xmlOSType struct {
	Arch    string `xml:"arch,attr"`
	Machine string `xml:"machine,attr"`
	Value   string `xml:",chardata"`
}

type xmlLoader struct {
	ReadOnly string `xml:"readonly,attr"`
	Type     string `xml:"type,attr"`
	Path     string `xml:",chardata"`
}

type xmlNVRAM struct {
	Template string `xml:"template,attr"`
	Path     string `xml:",chardata"`
}

type xmlBIOS struct {
	UseSerial string `xml:"useserial,attr"`
}

type xmlFeatures struct {
	ACPI   *empty    `xml:"acpi"`
	APIC   *empty    `xml:"apic"`
	VMPort *xmlState `xml:"vmport"`
	TCG    *xmlTCG   `xml:"tcg"`
}

type xmlState struct {
	State string `xml:"state,attr"`
}

type xmlTCG struct {
	Cache xmlMemory `xml:"tb-cache"`
}

type xmlCPU struct {
	Mode     string      `xml:"mode,attr"`
	Topology xmlTopology `xml:"topology"`
}

type xmlTopology struct {
	Sockets int `xml:"sockets,attr"`
	Cores   int `xml:"cores,attr"`
	Threads int `xml:"threads,attr"`
}

type xmlClock struct {
	Offset string `xml:"offset,attr"`
}

type xmlPM struct {
	Mem  xmlEnabled `xml:"suspend-to-mem"`
	Disk xmlEnabled `xml:"suspend-to-disk"`
}

type xmlEnabled struct {
	Enabled string `xml:"enabled,attr"`
}

type xmlDevices struct {
	Disks       []xmlDisk       `xml:"disk"`
	Controllers []xmlController `xml:"controller"`
	Interfaces  []xmlInterface  `xml:"interface"`
	Serial      xmlSerial       `xml:"serial"`
	Graphics    []xmlGraphics   `xml:"graphics"`
	Video       xmlVideo        `xml:"video"`
	Balloon     xmlModel        `xml:"memballoon"`
	RNG         xmlRNG          `xml:"rng"`
}

type xmlDisk struct {
	Type     string      `xml:"type,attr"`
	Device   string      `xml:"device,attr"`
	Driver   xmlDriver   `xml:"driver"`
	Source   xmlFile     `xml:"source"`
	Backing  *xmlBacking `xml:"backingStore"`
	Target   xmlTarget   `xml:"target"`
	Serial   string      `xml:"serial,omitempty"`
	Alias    xmlAlias    `xml:"alias"`
	Boot     xmlBoot     `xml:"boot"`
	Address  *xmlAddress `xml:"address"`
	ReadOnly *empty      `xml:"readonly"`
}

type xmlDriver struct {
	Name        string `xml:"name,attr"`
	Type        string `xml:"type,attr"`
	ErrorPolicy string `xml:"error_policy,attr,omitempty"`
	ReadPolicy  string `xml:"rerror_policy,attr,omitempty"`
	Discard     string `xml:"discard,attr,omitempty"`
}

type xmlFile struct {
	File  string       `xml:"file,attr"`
	Label *xmlSecurity `xml:"seclabel"`
}

type xmlSecurity struct {
	Model   string `xml:"model,attr"`
	Relabel string `xml:"relabel,attr"`
}

// xmlBacking without a Type ends a chain: nobody then asks the image.
type xmlBacking struct {
	Type    string      `xml:"type,attr,omitempty"`
	Format  *xmlFormat  `xml:"format"`
	Source  *xmlFile    `xml:"source"`
	Backing *xmlBacking `xml:"backingStore"`
}

type xmlFormat struct {
	Type string `xml:"type,attr"`
}

type xmlTarget struct {
	Dev string `xml:"dev,attr"`
	Bus string `xml:"bus,attr"`
}

type xmlAlias struct {
	Name string `xml:"name,attr"`
}

type xmlBoot struct {
	Order int `xml:"order,attr"`
}

type xmlAddress struct {
	Type       string `xml:"type,attr"`
	Controller int    `xml:"controller,attr"`
	Bus        int    `xml:"bus,attr"`
	Target     int    `xml:"target,attr"`
	Unit       int    `xml:"unit,attr"`
}

type xmlController struct {
	Type  string `xml:"type,attr"`
	Index int    `xml:"index,attr"`
	Model string `xml:"model,attr,omitempty"`
}

type xmlInterface struct {
	Type   string       `xml:"type,attr"`
	MAC    xmlMAC       `xml:"mac"`
	Target xmlTap       `xml:"target"`
	Model  xmlModelType `xml:"model"`
	MTU    *xmlMTU      `xml:"mtu"`
	Alias  xmlAlias     `xml:"alias"`
	ROM    xmlEnabled   `xml:"rom"`
}

type xmlMAC struct {
	Address string `xml:"address,attr"`
}

type xmlTap struct {
	Dev     string `xml:"dev,attr"`
	Managed string `xml:"managed,attr"`
}

type xmlModelType struct {
	Type string `xml:"type,attr"`
}

type xmlMTU struct {
	Size int `xml:"size,attr"`
}

type xmlSerial struct {
	Type   string          `xml:"type,attr"`
	Source xmlSerialSource `xml:"source"`
	Log    xmlSerialLog    `xml:"log"`
	Target xmlSerialTarget `xml:"target"`
}

type xmlSerialSource struct {
	Mode string `xml:"mode,attr"`
	Path string `xml:"path,attr"`
}

type xmlSerialLog struct {
	File   string `xml:"file,attr"`
	Append string `xml:"append,attr"`
}

type xmlSerialTarget struct {
	Type string `xml:"type,attr"`
	Port int    `xml:"port,attr"`
}

type xmlGraphics struct {
	Type   string    `xml:"type,attr"`
	Share  string    `xml:"sharePolicy,attr"`
	Listen xmlListen `xml:"listen"`
}

type xmlListen struct {
	Type string `xml:"type,attr"`
}

type xmlVideo struct {
	Model xmlVideoModel `xml:"model"`
}

type xmlVideoModel struct {
	Type   string `xml:"type,attr"`
	VRAM   int    `xml:"vram,attr,omitempty"`
	VGAMem int    `xml:"vgamem,attr,omitempty"`
	Heads  int    `xml:"heads,attr,omitempty"`
}

type xmlModel struct {
	Model string `xml:"model,attr"`
}

type xmlRNG struct {
	Model   string     `xml:"model,attr"`
	Backend xmlBackend `xml:"backend"`
}

type xmlBackend struct {
	Model string `xml:"model,attr"`
}
