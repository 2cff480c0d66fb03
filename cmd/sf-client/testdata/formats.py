"""What the command line of Shaken Fist 0.2 prints, composed from the description of its
formats by what it was made with: Python's own formatting, its json module and PrettyTable.

Reads {"replies": {"GET /path": text}, "runs": [[format, command, object, extra]]} and
writes a list of texts."""
import datetime
import json
import sys

import prettytable

given = json.load(sys.stdin)


def get(path):
    return json.loads(given['replies']['GET ' + path])


def when(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).replace(tzinfo=None)


class Printer:
    def __init__(self, form):
        self.form, self.lines = form, []

    def say(self, line=''):
        self.lines.append(line)

    def dump(self, v):
        self.say(json.dumps(v, indent=4, sort_keys=True))

    def listing(self, member, columns, fields, records, texts=None):
        if self.form == 'json':
            self.dump({member: [{f: r.get(f) for f in fields} for r in records]})
            return
        rows = [[(texts or {}).get(f, lambda v: v)(r.get(f)) for f in fields] for r in records]
        if self.form == 'simple':
            self.say(','.join(columns))
            for row in rows:
                self.say(','.join('%s' % v for v in row))
            return
        table = prettytable.PrettyTable()
        table.field_names = columns
        for row in rows:
            table.add_row(row)
        self.say(str(table))

    def fields(self, width, names, values):
        for name, value in zip(names, values):
            self.say('%s:%s' % (name, value) if self.form == 'simple' else '%-*s: %s' % (width, name, value))

    def metadata(self, m, width=8):
        if self.form == 'simple':
            self.say('metadata,key,value')
            for k in sorted(m):
                self.say('metadata,%s,%s' % (k, m[k]))
            return
        self.say('Metadata:')
        for k in sorted(m):
            self.say('    %-*s: %s' % (width, k, m[k]))


NIC = ['uuid', 'network_uuid', 'macaddr', 'order', 'ipv4', 'floating', 'model']
NIC_LABELS = ['uuid', 'network', 'macaddr', 'order', 'ipv4', 'floating', 'model']


def nic_lines(p, n):
    for label, field in zip(NIC_LABELS, NIC):
        p.say('    %-8s: %s' % (label, n[field]))


def nic_row(p, n):
    p.say(','.join(['iface'] + ['%s' % n[f] for f in NIC]))


def interface_show(p, uuid, _):
    n = get('/interfaces/' + uuid)
    if p.form == 'json':
        p.dump({'network_interfaces': [{f: n[f] for f in NIC}]})
    elif p.form == 'simple':
        p.say('iface,interface uuid,network uuid,macaddr,order,ipv4,floating,model')
        nic_row(p, n)
    else:
        p.say('Interface:')
        nic_lines(p, n)


def network_show(p, uuid, _):
    n, m = get('/networks/' + uuid), get('/networks/%s/metadata' % uuid)
    shown = ['uuid', 'name', 'vxid', 'netblock', 'provide_dhcp', 'provide_nat', 'floating_gateway', 'namespace']
    if p.form == 'json':
        p.dump(dict({f: n[f] for f in shown}, metadata=m))
        return
    labels = ['uuid', 'name', 'vxlan id', 'netblock', 'provide dhcp', 'provide nat', 'floating gateway', 'namespace', 'state']
    p.fields(16, labels, [n[f] for f in shown + ['state']])
    p.say()
    p.metadata(m)


def instance_show(p, uuid, snapshots):
    base = '/instances/' + uuid
    i, nics, m = get(base), get(base + '/interfaces'), get(base + '/metadata')
    taken = get(base + '/snapshot') if snapshots else None
    if p.form == 'json':
        o = {f: i[f] for f in ['uuid', 'name', 'namespace', 'cpus', 'memory', 'disk_spec', 'video', 'node', 'console_port',
                               'vdi_port', 'ssh_key', 'user_data', 'power_state', 'state']}
        o.update(network_interfaces=[{f: n[f] for f in NIC} for n in nics], metadata=m)
        if snapshots:
            o['snapshots'] = [{f: s[f] for f in ['uuid', 'device', 'created']} for s in taken]
        p.dump(o)
        return
    first = [('uuid', i['uuid']), ('name', i['name']), ('namespace', i['namespace']), ('cpus', i['cpus']), ('memory', i['memory'])]
    last = [('node', i['node']), ('power state', i['power_state']), ('state', i['state']),
            ('console port', i['console_port']), ('vdi port', i['vdi_port'])]
    more = []
    if p.form == 'pretty':
        disks = ['type=%-5s  bus=%-4s  size=%-2s  base=%s  ' % (d['type'], d['bus'], d['size'], d['base']) for d in i['disk_spec']]
        more = [('disk spec', ('\n' + ' ' * 14).join(disks)), ('video', 'model=%(model)s  memory=%(memory)s  ' % i['video'])]
    p.fields(12, *zip(*first + more + last))
    p.say()
    p.fields(12, ['ssh key', 'user data'], [i['ssh_key'], i['user_data']])
    p.say()
    if p.form == 'simple':
        p.say('disk_spec,type,bus,size,base')
        for d in i['disk_spec']:
            p.say('disk_spec,%(type)s,%(bus)s,%(size)s,%(base)s' % d)
        p.say('\nvideo,model,memory\nvideo,%(model)s,%(memory)s\n' % i['video'])
    p.metadata(m)
    p.say()
    if p.form == 'simple':
        p.say('iface,interface uuid,network uuid,macaddr,order,ipv4,floating')
    else:
        p.say('Interfaces:')
    for n in nics:
        if p.form == 'simple':
            nic_row(p, n)
        else:
            p.say()
            nic_lines(p, n)
    if not snapshots:
        return
    p.say()
    p.say('snapshot,uuid,device,created' if p.form == 'simple' else 'Snapshots:')
    for s in taken:
        if p.form == 'simple':
            p.say('snapshot,%s,%s,%s' % (s['uuid'], s['device'], when(s['created'])))
        else:
            p.say('\n    uuid    : %s\n    device  : %s\n    created : %s' % (s['uuid'], s['device'], when(s['created'])))


def namespace_show(p, name, _):
    keys, m = get('/auth/namespaces/%s/keys' % name), get('/auth/namespaces/%s/metadata' % name)
    if p.form == 'json':
        p.dump({'key_names': keys, 'metadata': m})
        return
    p.say('metadata,keyname' if p.form == 'simple' else 'Key Names:')
    for k in keys:
        p.say(('keyname,%s' if p.form == 'simple' else '    %s') % k)
    p.metadata(m, max((len(k) for k in m), default=0))


def namespace_list(p, *_):
    names = get('/auth/namespaces')
    if p.form == 'json':
        p.say(json.dumps(names))
    else:
        p.listing('', ['namespace'], ['namespace'], [{'namespace': n} for n in names])


def get_metadata(p, name, _):
    m = get('/auth/namespaces/%s/metadata' % name)
    if p.form == 'json':
        p.dump(m)
    else:
        p.fields(12, sorted(m), [m[k] for k in sorted(m)])


def events(kind):
    def run(p, uuid, _):
        p.listing('events', ['timestamp', 'node', 'operation', 'phase', 'duration', 'message'],
                  ['timestamp', 'fqdn', 'operation', 'phase', 'duration', 'message'],
                  [dict(e, timestamp=float(e['timestamp'])) for e in get('/%s/%s/events' % (kind, uuid))], {'timestamp': when})
    return run


COMMANDS = {
    'node list': lambda p, *_: p.listing('nodes', ['name', 'ip', 'lastseen', 'version'], ['name', 'ip', 'lastseen', 'version'],
                                         [dict(n, lastseen=float(n['lastseen'])) for n in get('/nodes')]),
    'namespace list': namespace_list,
    'namespace show': namespace_show,
    'namespace get-metadata': get_metadata,
    'network list': lambda p, *_: p.listing('networks', *[['uuid', 'name', 'namespace', 'netblock']] * 2, get('/networks')),
    'network show': network_show,
    'network create': network_show,
    'network events': events('networks'),
    'network instances': lambda p, u, _: p.listing('instances', *[['instance_uuid', 'ipv4', 'floating']] * 2, get('/networks/%s/interfaces' % u)),
    'instance list': lambda p, *_: p.listing('instances', ['uuid', 'name', 'namespace', 'cpus', 'memory', 'hypervisor', 'power state', 'state'],
                                             ['uuid', 'name', 'namespace', 'cpus', 'memory', 'node', 'power_state', 'state'], get('/instances')),
    'instance show': instance_show,
    'instance create': instance_show,
    'instance events': events('instances'),
    'interface show': interface_show,
}


def compose(form, command, *args):
    p = Printer(form)
    COMMANDS[command](p, *args)
    return '\n'.join(p.lines) + '\n'


json.dump([compose(*run) for run in given['runs']], sys.stdout)
