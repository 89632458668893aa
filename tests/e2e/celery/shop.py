"""The Python side of the matrix: a small Celery application, as a shop has one."""
import os
import time

from celery import Celery

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BROKER"])
app.conf.task_routes = {"mihwar.*": {"queue": "mihwar"}, "shop.*": {"queue": "celery"}}
app.conf.broker_transport_options = {"visibility_timeout": 3600}


@app.task(name="shop.add")
def add(x, y=0):
    return x + y


@app.task(name="shop.name")
def name(echoed):
    """The first argument of what mihwar.echo answered."""
    return echoed["args"][0]


@app.task(name="shop.total")
def total(values):
    return sum(v["args"][0] if isinstance(v, dict) else v for v in values)


@app.task(name="shop.broken")
def broken(*args):
    raise ValueError("bad", 3)


@app.task(name="shop.flaky", bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(name="shop.note")
def note(failed_id, where):
    app.backend.client.set(where, failed_id)


@app.task(name="shop.slow")
def slow(seconds):
    time.sleep(seconds)
    return seconds


echo = app.signature("mihwar.echo")


def mihwar(task, *args, **kwargs):
    """A signature of a task that only the Mihwar worker knows."""
    return app.signature("mihwar." + task, args=args, kwargs=kwargs, queue="mihwar")
