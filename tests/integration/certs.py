"""Certificates for tests: a CA, and what it signs for servers and services."""

import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA whose files are in `folder`: its certificate at .path, what it issues at the paths that issue() returns."""

    def __init__(self, folder, called="ca"):
        self.folder, self.called = folder, called
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign(name(called), self.key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.path = self.write(f"{called}.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, subject, key, extensions, begins=-DAY, ends=DAY):
        now = datetime.datetime.now(datetime.timezone.utc)
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(name(self.called)).public_key(key.public_key())
             .serial_number(x509.random_serial_number()).not_valid_before(now + begins).not_valid_after(now + ends))
        for extension, critical in extensions:
            b = b.add_extension(extension, critical)
        return b.sign(self.key, hashes.SHA256())

    def write(self, file, data):
        path = os.path.join(self.folder, file)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
            f.write(data)
        return path

    def issue(self, file, names, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **dates):
        """names: "DNS:…", "URI:…". Paths of certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        kinds = {"DNS": x509.DNSName, "URI": x509.UniformResourceIdentifier}
        said = [kinds[n.split(":", 1)[0]](n.split(":", 1)[1]) for n in names]
        extensions = [(x509.BasicConstraints(ca=False, path_length=None), True), (x509.ExtendedKeyUsage([usage]), False)]
        extensions += [(x509.SubjectAlternativeName(said), False)] if said else []
        certificate = self.sign(name(file), key, extensions, **dates)
        return (self.write(f"{file}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
                self.write(f"{file}.key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                            serialization.NoEncryption())))
