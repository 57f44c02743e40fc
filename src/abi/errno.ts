/**
 * Linux error names by number (asm-generic: x86, arm64 and most others; man errno(3)). Kept as data
 * because this layer, which the simulator shares, knows no operating system.
 */
const NAMES =
  'EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD ' +
  'EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR ' +
  'EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS ' +
  'EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ' +
  '- ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI ' +
  'EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ' +
  'ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM ' +
  'EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ' +
  'ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE ' +
  'EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ' +
  'ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ' +
  'ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM ' +
  'EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ' +
  'ENOTRECOVERABLE ERFKILL EHWPOISON';

const BY_NUMBER: readonly string[] = ['', ...NAMES.split(' ')];
const BY_NAME: ReadonlyMap<string, number> = new Map(
  BY_NUMBER.map((name, errno) => [name, errno] as const).filter(([name]) => name !== '' && name !== '-'),
);

/**
 * `EPERM` for 1; `E1234` for a number without a name.
 *
 * @example
 * ```ts
 * import { errnoName } from 'pagemap-scan/abi';
 * console.assert(errnoName(1) === 'EPERM' && errnoName(1234) === 'E1234');
 * ```
 */
export function errnoName(errno: number): string {
  const name = BY_NUMBER[errno];
  return name === undefined || name === '' || name === '-' ? `E${errno}` : name;
}

/**
 * 1 for `EPERM`; undefined for a name that Linux does not have.
 *
 * @example
 * ```ts
 * import { errnoNumber } from 'pagemap-scan/abi';
 * console.assert(errnoNumber('EPERM') === 1 && errnoNumber('ENONSENSE') === undefined);
 * ```
 */
export function errnoNumber(name: string): number | undefined {
  return BY_NAME.get(name);
}

/** The `code` of whatever was thrown, 'ENOENT' for instance: what Node's own errors and those of this package have. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { readonly code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
