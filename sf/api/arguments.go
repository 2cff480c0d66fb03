package api

// Schemas of arguments. null, and for strings "", mean not given; numbers may be
// strings of digits.
var (
	textSchema   = tree{"type": []string{"string", "null"}}
	flagSchema   = tree{"type": []string{"boolean", "null"}}
	numberSchema = tree{"anyOf": []any{tree{"type": []string{"integer", "null"}}, tree{"type": "string", "pattern": "^[0-9]*$"}}}
	mapSchema    = tree{"type": []string{"object", "null"}}
)

// argumentSchemas are those of bodies, by name.
var argumentSchemas = tree{
	"all": flagSchema, "confirm": tree{"type": "boolean", "enum": []any{true}}, "namespace": textSchema,
	"key": textSchema, "key_name": textSchema, "value": tree{"description": "anything but null, false, 0 and what is empty"},
	"netblock": textSchema, "provide_dhcp": flagSchema, "provide_nat": flagSchema, "name": textSchema,
	"cpus": numberSchema, "memory": said(numberSchema, "MiB"), "ssh_key": textSchema, "user_data": said(textSchema, "base64"), "placed_on": textSchema,
	"instance_uuid": said(textSchema, "refused: the cloud makes UUIDs"), "uefi": flagSchema, "metadata": mapSchema,
	"nvram_template": said(textSchema, "refused unless empty"), "secure_boot": said(flagSchema, "refused unless false"), "dry_run": flagSchema,
	"url": said(textSchema, "a URL, or a shorthand such as cirros:0.5.1"), "length": said(numberSchema, "bytes"),
	"recover": flagSchema, "ask": said(numberSchema, "seconds that each guest has to shut itself down"), "fenced": said(flagSchema, "the caller's word that the node is off"),
	"disk": listOf(tree{
		"size": said(numberSchema, "GB"), "base": said(textSchema, "image, or snapshot:UUID"), "bus": textSchema, "type": textSchema,
	}),
	"network": listOf(tree{
		"network_uuid": textSchema, "address": textSchema, "macaddress": textSchema, "model": textSchema, "float": flagSchema,
	}),
	"video": tree{"anyOf": []any{
		tree{"type": []string{"object", "null"}, "properties": tree{"model": textSchema, "memory": said(numberSchema, "KiB")}, "additionalProperties": false},
		tree{"type": "string", "enum": []any{""}},
	}},
}

// said is a schema with a description.
func said(of tree, what string) tree {
	with := tree{"description": what}
	for name, v := range of {
		with[name] = v
	}
	return with
}

// listOf is a list of objects with these members and no others.
func listOf(members tree) tree {
	return tree{"type": []string{"array", "null"}, "items": tree{"type": "object", "properties": members, "additionalProperties": false}}
}
