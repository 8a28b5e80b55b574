/* ProcessPrng for Wine 8, which lacks the DLL that Rust's standard library imports it from; without it a program ends
 * silently before main. Windows proper has its own, which this must never replace. */
typedef unsigned char byte;

__declspec(dllimport) byte __stdcall SystemFunction036(void *bytes, unsigned long count);

__declspec(dllexport) int __stdcall ProcessPrng(byte *bytes, unsigned long long count)
{
    while (count > 0) {
        unsigned long part = count > 0x40000000 ? 0x40000000 : (unsigned long)count;
        if (!SystemFunction036(bytes, part))
            return 0;
        bytes += part;
        count -= part;
    }
    return 1;
}
