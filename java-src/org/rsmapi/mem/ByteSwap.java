package org.rsmapi.mem;

/** Reverses the bytes of every element of a piece of a primitive array, in place. */
public final class ByteSwap {
    private ByteSwap() {
    }

    /** Swaps {@code count} elements from {@code index} on, which must lie inside the array; bytes stay as they are. */
    public static void swap(Object array, int index, int count) {
        int end = index + count;
        if (array instanceof long[]) {
            swap((long[]) array, index, end);
        } else if (array instanceof int[]) {
            swap((int[]) array, index, end);
        } else if (array instanceof short[]) {
            swap((short[]) array, index, end);
        } else if (array instanceof char[]) {
            swap((char[]) array, index, end);
        } else if (array instanceof double[]) {
            swap((double[]) array, index, end);
        } else if (array instanceof float[]) {
            swap((float[]) array, index, end);
        }
    }

    private static void swap(long[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Long.reverseBytes(array[i]);
        }
    }

    private static void swap(int[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Integer.reverseBytes(array[i]);
        }
    }

    private static void swap(short[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Short.reverseBytes(array[i]);
        }
    }

    private static void swap(char[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Character.reverseBytes(array[i]);
        }
    }

    private static void swap(double[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Double.longBitsToDouble(Long.reverseBytes(Double.doubleToRawLongBits(array[i])));
        }
    }

    private static void swap(float[] array, int index, int end) {
        for (int i = index; i < end; i++) {
            array[i] = Float.intBitsToFloat(Integer.reverseBytes(Float.floatToRawIntBits(array[i])));
        }
    }
}
