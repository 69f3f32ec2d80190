package org.rsmapi;

import java.util.Locale;

/**
 * One entry of an access list: {@code rsmapi_access_entry_t} of rsm_memseg_export_publish(3RSM).
 *
 * @param node        the importing node, 0 to 63
 * @param permission  three octal digits for owner, group and others, each 4 (read) plus 2 (write), such as {@code 0640}
 */
public record AccessEntry(int node, int permission) {
    @Override
    public String toString() {
        return "node " + node + " " + String.format(Locale.ROOT, "%04o", permission);
    }
}
