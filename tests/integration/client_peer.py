"""cocoon-client as a process for tests: client = Client(folder, gateway_url, tee).start(); client.base_url, .raw(), .sdk()."""

import os
import subprocess

import openai

from raw import Raw
from stack import BIN, SLOW, die_with_parent, free_port, wait_for

PROGRAM = os.path.join(BIN, "cocoon-client")


class Client:
    def __init__(self, folder, gateway, tee, *options, name="client", settings=None):
        self.folder, self.port = folder, free_port()
        self.log = os.path.join(folder, name + ".log")
        self.key_file = os.path.join(folder, name + ".key")
        self.argv = [PROGRAM, "--gateway", gateway, "--policy", tee.path("policy.json"), "--release-key", tee.read("release.pub").decode().strip(),
                     "--listen", f"127.0.0.1:{self.port}", "--key-file", self.key_file, *options]
        if "--production" in options:
            self.argv.remove("--production")
        else:
            self.argv.append("--insecure-dev")
        if settings:
            file = os.path.join(folder, name + ".yaml")
            with open(file, "w") as f:
                f.write(settings)
            self.argv += ["--config", file]
        self.process = None
        self._sdks = []

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
                                            preexec_fn=die_with_parent)
        wait_for(self.answers, "cocoon-client")
        return self

    def run(self):
        """For one that is expected not to start: the finished process."""
        return subprocess.run(self.argv, capture_output=True, text=True, timeout=20 * SLOW, cwd=self.folder)

    def answers(self):
        assert self.process.poll() is None, self.text
        try:
            self.raw().close()
            return True
        except OSError:
            return False

    @property
    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def raw(self, key="sk-test", **kw):
        kw.setdefault("timeout", 20 * SLOW)
        connection = Raw(("127.0.0.1", self.port), key=key, **kw)
        request = connection.request
        # It answers to names of this machine alone.
        connection.request = lambda method, target, body=None, headers=(), close=False: request(
            method, target, body, {"Host": f"127.0.0.1:{self.port}", **dict(headers)}, close)
        return connection

    def sdk(self, key="sk-test", **kw):
        kw.setdefault("max_retries", 0)
        kw.setdefault("timeout", 30 * SLOW)
        client = openai.OpenAI(base_url=self.base_url, api_key=key, **kw)
        self._sdks.append(client)
        return client

    def stop(self):
        for sdk in self._sdks:
            sdk.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            code = self.process.wait(15 * SLOW)
            assert code == 0, f"cocoon-client ended with {code}:\n{self.text[-4000:]}"
        assert not self.process or "Sanitizer" not in self.text and "CHECK failed" not in self.text, self.text[-6000:]
