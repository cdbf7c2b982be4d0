"""Fetches a source distribution of one exact version through pip's own index settings and unpacks members of it while it
comes in, without pip's metadata build (which runs the package's setup.py and may fail) and without keeping the archive.

usage: sdist.py NAME VERSION DIR [--flat] [PATTERN...]     patterns are matched against member names without the top folder
The last line printed is the number of files unpacked; the archive's hash is checked before they are moved to DIR.
"""
import fnmatch, hashlib, os, shutil, sys, tarfile
from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import SpecifierSet


class Hashed:
    """The body of an answer as a file that is read once, hashed on the way."""

    def __init__(self, answer, digest):
        self.chunks, self.digest, self.rest = answer.iter_content(1 << 20), digest, b""

    def read(self, n):
        while len(self.rest) < n:
            chunk = next(self.chunks, b"")
            if not chunk:
                break
            self.digest.update(chunk)
            self.rest += chunk
        out, self.rest = self.rest[:n], self.rest[n:]
        return out


def wanted(name, patterns):
    inner = name.partition("/")[2]
    return inner and ".." not in inner.split("/") and (not patterns or any(fnmatch.fnmatch(inner, p) for p in patterns))


def main():
    args = [a for a in sys.argv[1:] if a != "--flat"]
    flat = len(args) != len(sys.argv) - 1
    name, version, target, patterns = args[0], args[1], args[2], args[3:]
    command = create_command("download")
    options, _ = command.parse_args(["--no-binary", ":all:", name])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        best = finder.find_best_candidate(name, specifier=SpecifierSet("==" + version)).best_candidate
        if best is None:
            sys.exit("no source distribution of %s %s at the index that pip uses" % (name, version))
        answer = session.get(best.link.url_without_fragment, stream=True, headers={"Accept-Encoding": "identity"})
        answer.raise_for_status()
        digest = hashlib.new(best.link.hash_name or "sha256")
        body, temp, count = Hashed(answer, digest), target + ".part", 0
        shutil.rmtree(temp, ignore_errors=True)
        with tarfile.open(fileobj=body, mode="r|gz") as tar:
            for member in tar:
                if member.isfile() and wanted(member.name, patterns):
                    inner = member.name.partition("/")[2]
                    path = os.path.join(temp, os.path.basename(inner) if flat else inner)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as out:
                        shutil.copyfileobj(tar.extractfile(member), out)
                    count += 1
        while body.read(1 << 20):
            pass
        if best.link.hash and digest.hexdigest() != best.link.hash:
            sys.exit("%s: the archive's hash is wrong" % best.link.filename)
    if not count:
        sys.exit("%s: nothing in it matches %s" % (best.link.filename, patterns))
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temp, target)
    print(count)


main()
