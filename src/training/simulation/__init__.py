"""A made-up world with a known truth, which reacts to what it is shown: for volume, regret curves and tests.

    parameters ─▶ World ─ visits ─▶ policy(visit, offer) ─ order ─▶ reactions ─▶ Trace, events
                    └──── truth ────────────────────────────────────────┴──▶ regret

Everything that it makes says that it is simulated, and with which seed. It never stands in for real data where there is
real data: docs/simulator.md says what is true in it.
"""
