"""The reference frontend: a small, honest homeserver that leaves its partial-state rooms to the service.

It keeps everything in memory and knows nothing of clients, but towards other homeservers it does all that adopting the
service asks for. One file per concern; read them in this order:

* `joining` registers a partial join before it is persisted, and confirms it afterwards;
* `receiving` and `persisting` take events of other servers, and record those whose state is partial before they are
  persisted;
* `sending` records an event and its destinations before it goes out;
* `answering` asks for a decision on each request of another server and does what the verdict says;
* `reconciling` tells the service at the start, and whenever it has forgotten, which rooms are held as partial;
* `importing` imports the recovered state, and ends the partial state.
"""
