"""Signal and gradient through training: what each layer does from step to step, and what to think
of it.

`SignalProbe` measures one step of a training. `Watch` puts it into a loop of one's own, and
`fanin.training` into fanin's. Nothing here changes a training: no random number is drawn, no extra
pass is run, and no module, parameter or optimizer is changed.
"""
