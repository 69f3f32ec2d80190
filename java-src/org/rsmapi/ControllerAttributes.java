package org.rsmapi;

/**
 * What a controller can do: {@code rsmapi_controller_attr_t} of rsm_get_controller_attr(3RSM).
 *
 * <p>A value of 0 means that the controller sets no limit (the {@code loopback} controller reports 0 for everything but the page
 * size, as the original does).
 *
 * @param directAccessSizes       widths of direct access, a mask whose bit values are bytes
 * @param atomicSizes             widths of access that is never torn, a mask whose bit values are bytes
 * @param pageSize                page sizes as a mask in KiB: bit n stands for 2<sup>n</sup> KiB
 * @param maxExportSegmentSize    largest segment that can be exported, in bytes
 * @param totalExportSegmentSize  all exported segments together, in bytes
 * @param maxExportSegments       number of exported segments
 * @param maxImportMapSize        largest mapping of an imported segment, in bytes
 * @param totalImportMapSize      all mappings together, in bytes
 * @param maxImportSegments       number of imported segments
 */
public record ControllerAttributes(
        int directAccessSizes,
        int atomicSizes,
        long pageSize,
        long maxExportSegmentSize,
        long totalExportSegmentSize,
        long maxExportSegments,
        long maxImportMapSize,
        long totalImportMapSize,
        long maxImportSegments) {
}
